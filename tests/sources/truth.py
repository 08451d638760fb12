"""Snippets of provisioning code and what each of them writes: `<family>/<name>/`, with `truth.toml` beside the code.

`node`: absent where the code does not tell. `text`: the line as it is afterwards, `<?>` for what the code does not
tell. `line`: of the command, or of the line in a here-document, block or file, that has the text. `sure`: whether it is
all there (`literal`), or by way of variables, arguments or loops (`resolved variable`), or in part (`unknown part`).
`mode`: `append`, `replace` (the file as a whole is written) or `edit`. `guarded` (for `append`): a second run adds
nothing. `conditional`: only if something holds that the code does not tell. `stays`: false where somebody writes the
file anew later in the same run, or in the next one.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

HERE = Path(__file__).parent
SNIPPETS, KEPT_APART = HERE / "snippets", HERE / "kept_apart"
FAMILIES = ("shell", "ansible", "cloud_init", "compose", "terraform", "proxmox")
UNKNOWN = "<?>"


class ExpectedWrite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[write]]` of a truth.toml."""

    file: str
    text: str
    source: str
    line: int
    sure: str
    mode: str
    node: str | None = None
    guarded: bool | None = None
    conditional: bool = False
    stays: bool = True


class Truth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole truth.toml; nothing in it says that nothing is written."""

    write: tuple[ExpectedWrite, ...] = ()


class Snippet(msgspec.Struct, frozen=True):
    """A folder of code with its truth."""

    family: str
    folder: Path
    truth: Truth

    @property
    def name(self) -> str:
        """`family/NN-name`."""
        return f"{self.family}/{self.folder.name}"

    def files(self) -> Iterator[Path]:
        """The code, without the truth."""
        return (path for path in sorted(self.folder.rglob("*")) if path.is_file() and path.name != "truth.toml")


def read_snippets(root: Path, *families: str) -> tuple[Snippet, ...]:
    """All of a root, or those of some families."""
    return tuple(
        Snippet(family, path.parent, msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Truth))
        for family in families or FAMILIES
        for path in sorted((root / family).glob("*/truth.toml"))
    )
