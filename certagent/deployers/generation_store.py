"""A pair beside a service as generations in a folder, of which one is live by a link and one is proven.

```
<root>/<N>/{privkey.pem, fullchain.pem}      complete as soon as it exists; 0 is what was there before certagent
<root>/proven -> <N>                         what a roll-back goes to
```
A folder's name is not trusted to tell its content: whoever wrote through a link has changed it, and the configuration
may since name another owner, group or mode. Then the same generation is put beside, as `<N>.1`, so that a live folder
is never written to.

A pair at two configured paths changes in one rename: both are links through one `current`.
```
<certificate's folder>/.certagent-<name>/current -> <N>            the rename
<certificate> -> .certagent-<name>/current/fullchain.pem
<key>         -> .certagent-<name>/current/privkey.pem
```
Files that were there before are taken over first: copied as a generation of their own, then replaced one by one by
links that show the same content, so that at every instant the pair on disk matches.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from itertools import takewhile
from pathlib import Path

import msgspec

from certagent.config import CommandTarget, NginxTarget
from certagent.deployers.foreign_folders import require_no_client
from certagent.deployers.pair_inspection import CHAIN, KEY, fingerprint_in, inspect_pair, read_pair
from certagent.domain.deployments import Generation, LivePair, RollbackResult
from certagent.system.files import (
    FileContent,
    Owner,
    find_owner,
    is_file_as,
    make_folder,
    read_link,
    remove_folder,
    require_writable,
    swap_link,
    write_file,
    write_folder,
)
from certagent.system.processes import ReadersWriters

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

    def files_of(self, generation: Generation) -> tuple[FileContent, FileContent]:
        """Key and chain."""
        return self.key_file(generation.key_pem), self.chain_file(generation.chain_pem)

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
        """The folder that holds exactly this pair, with these modes and owners, under this number; made whole if it is
        not there yet."""
        found = self._find(number, key, chain)
        if found is not None:
            return found
        folder = next(folder for folder in self._candidates(number) if not folder.exists())
        write_folder(folder, {KEY: key, CHAIN: chain}, mode=FOLDER_MODE)
        return folder

    def find(self, number: int, key: FileContent, chain: FileContent) -> Path:
        """The folder that this pair was put in. Raises FileNotFoundError when it never was."""
        found = self._find(number, key, chain)
        if found is None:
            raise FileNotFoundError(f"generation {number} was never staged in {self.root}")
        return found

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

    def _find(self, number: int, key: FileContent, chain: FileContent) -> Path | None:
        staged = takewhile(Path.exists, self._candidates(number))
        return next((one for one in staged if is_file_as(one / KEY, key) and is_file_as(one / CHAIN, chain)), None)

    def _candidates(self, number: int) -> Iterator[Path]:
        yield self.root / str(number)
        attempt = 0
        while True:
            attempt += 1
            yield self.root / f"{number}.{attempt}"


class SymlinkedPair:
    """The file part of a target with configured paths for certificate and key. See `Target` for the contract."""

    def __init__(self, name: str, settings: NginxTarget | CommandTarget, files: ReadersWriters) -> None:
        self._certificate = certificate = settings.certificate
        self._key = settings.key
        self._reader = settings.reader
        self._ownership = Ownership(settings.owner, settings.group, settings.mode)
        self._generations = GenerationStore(certificate.parent / f".certagent-{name}")
        self._current = self._generations.root / "current"
        self.files = files

    def reader(self) -> str | None:
        """See `Target`."""
        return self._reader

    def reads_because(self) -> str | None:
        """See `Target`."""
        return None

    def key_file(self, folder: Path) -> Path:
        """See `Target`: the configured path."""
        return self._key

    def live(self) -> LivePair:
        """See `Target`."""
        return inspect_pair(self._certificate, self._certificate, self._key)

    def lock_file(self) -> Path:
        """See `Target`: by the certificate's path, not by what the agent calls it."""
        return self._certificate.parent / f".certagent-{self._certificate.name}.lock"

    def prepare(self) -> None:
        """See `Target`."""
        require_no_client(self._certificate, self._key)
        self._ownership.find()
        for path in (self._certificate, self._key):
            require_writable(path.parent)
        self._generations.prepare()

    def stage(self, generation: Generation) -> Path:
        """See `Target`."""
        self.prepare()
        return self._generations.put(generation.number, *self._ownership.files_of(generation))

    def writing(self) -> AbstractAsyncContextManager[None]:
        """See `Target`."""
        return self.files.writing()

    def promote(self, generation: Generation) -> None:
        """See `Target`. Finds the paths as links, as somebody's files, or not at all."""
        folder = self._generations.find(generation.number, *self._ownership.files_of(generation))
        if not self._is_linked():
            self._take_over()
        swap_link(self._current, folder.name)
        self._link()

    def roll_back(self) -> RollbackResult | None:
        """See `Target`."""
        folder = self._generations.proven()
        if folder is None or read_link(self._current) == folder.name:
            return None
        swap_link(self._current, folder.name)
        return RollbackResult(fingerprint_in(folder))

    def settle(self, generation: Generation) -> None:
        """See `Target`."""
        folder = self._generations.find(generation.number, *self._ownership.files_of(generation))
        self._generations.settle(folder)
        self._generations.prune(folder)

    def _is_linked(self) -> bool:
        return all(read_link(path) == target for path, target in self._links())

    def _links(self) -> tuple[tuple[Path, str], tuple[Path, str]]:
        current = f"{self._generations.root.name}/current"
        return (
            (self._certificate, f"{current}/{CHAIN}"),
            (self._key, f"{current}/{KEY}" if self._key.parent == self._certificate.parent else self._far_key()),
        )

    def _far_key(self) -> str:
        return str(self._current.absolute() / KEY)

    def _link(self) -> None:
        for path, target in self._links():
            swap_link(path, target)

    def _take_over(self) -> None:
        """Keep what is at the paths now as the generation from before; then show the same content through links."""
        key, chain = _as_it_is(self._key), _as_it_is(self._certificate)
        if key is None or chain is None:
            self._keep_half()
            return
        folder = self._generations.put(BEFORE, key, chain)
        if fingerprint_in(folder) is not None:
            self._generations.settle(folder)
        swap_link(self._current, folder.name)
        self._link()

    def _keep_half(self) -> None:
        """Half a pair serves nobody, but it is not ours to lose."""
        for path, target in self._links():
            half = _as_it_is(path) if read_link(path) != target else None
            if half is not None:
                write_file(self._generations.root / f"before.{path.name}", half)


def _as_it_is(path: Path) -> FileContent | None:
    """A file with its mode and owner, through whatever links lead to it."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            return FileContent(content=file.read(), mode=found.st_mode & 0o777, owner=Owner(found.st_uid, found.st_gid))
    except FileNotFoundError:
        return None
