"""A folder of generations beside a service, and which of them is proven.

```
<root>/<N>/{privkey.pem, fullchain.pem}      complete as soon as it exists; 0 is what was there before certagent
<root>/proven -> <N>                         what a roll-back goes to
```
A folder's name is not trusted to tell its content: whoever wrote through a link has changed it, and then the same
generation is put beside, as `<N>.1`, so that a live folder is never written to.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certagent.domain.certificates import UNREADABLE
from certagent.domain.deployments import Generation
from certagent.system.files import (
    FileContent,
    Owner,
    find_owner,
    make_folder,
    read_file,
    read_link,
    remove_folder,
    require_writable,
    swap_link,
    write_folder,
)

KEY = "privkey.pem"
CHAIN = "fullchain.pem"
BEFORE = 0
FOLDER_MODE = 0o755  # the key's own mode protects it; the service must get at its files

_KEPT = 2


class Ownership(msgspec.Struct, frozen=True):
    """Whom the pair belongs to, as configured: user and group, by name or number; `mode` None: by the group."""

    user: str
    group: str
    mode: int | None = None

    def key_file(self, content: bytes) -> FileContent:
        """The key: as configured, else its owner's alone, or its group's as well when a group is meant."""
        mode = 0o600 if self.group in ("root", "0") else 0o640
        return FileContent(content=content, mode=self.mode or mode, owner=self.find())

    def chain_file(self, content: bytes) -> FileContent:
        """The chain: no secret."""
        return FileContent(content=content, mode=0o644, owner=self.find())

    def find(self) -> Owner:
        """By number. Raises `UnknownOwnerError`."""
        return find_owner(self.user, self.group)


class GenerationStore:
    """The generations at one target. Everything blocks; see `Target` for what is raised."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Make the folder, if need be (its parent exists), and make sure that it can be written."""
        make_folder(self.root, FOLDER_MODE)
        require_writable(self.root)

    def put(self, number: int, key: FileContent, chain: FileContent) -> Path:
        """The folder that holds exactly this pair under this number; made whole if it is not there yet."""
        for folder in self._candidates(number):
            if not folder.exists():
                write_folder(folder, {KEY: key, CHAIN: chain}, mode=FOLDER_MODE)
                return folder
            if read_pair(folder) == (key.content, chain.content):
                return folder
        raise AssertionError("the candidates do not end")

    def find(self, generation: Generation) -> Path:
        """The folder that this generation was put in. Raises FileNotFoundError when it never was."""
        for folder in self._candidates(generation.number):
            if not folder.exists():
                raise FileNotFoundError(f"generation {generation.number} was never staged in {self.root}")
            if read_pair(folder) == (generation.key_pem, generation.chain_pem):
                return folder
        raise AssertionError("the candidates do not end")

    def proven(self) -> Path | None:
        """What a roll-back goes to, if there is anything."""
        target = read_link(self.root / "proven")
        folder = self.root / target if target else None
        return folder if folder is not None and read_pair(folder) is not None else None

    def settle(self, folder: Path) -> None:
        """That one is proven."""
        swap_link(self.root / "proven", folder.name)

    def prune(self, *live: Path) -> None:
        """Drop what is neither live, proven, among the newest, nor what was there before certagent."""
        folders = [path for path in self.root.iterdir() if path.name.partition(".")[0].isdigit() and path.is_dir()]
        folders.sort(key=lambda path: path.stat().st_ctime_ns)
        kept = {*live, self.proven(), self.root / str(BEFORE), *folders[-_KEPT:]}
        for folder in folders:
            if folder not in kept:
                remove_folder(folder)

    def _candidates(self, number: int) -> Iterator[Path]:
        yield self.root / str(number)
        attempt = 0
        while True:
            attempt += 1
            yield self.root / f"{number}.{attempt}"


def read_pair(folder: Path) -> tuple[bytes, bytes] | None:
    """(key, chain) in a folder, if both are there."""
    key, chain = read_file(folder / KEY), read_file(folder / CHAIN)
    return None if key is None or chain is None else (key, chain)


def fingerprint_in(folder: Path) -> str | None:
    """SHA-256 of the leaf in a folder; None when there is no readable certificate."""
    pair = read_pair(folder)
    try:
        return x509.load_pem_x509_certificate(pair[1]).fingerprint(hashes.SHA256()).hex() if pair else None
    except UNREADABLE:
        return None
