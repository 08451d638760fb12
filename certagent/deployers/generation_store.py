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
import re
import stat
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from certagent.config import CommandTarget, HaproxyTarget, NginxTarget
from certagent.deployers.foreign_folders import require_no_client
from certagent.deployers.pair_inspection import CHAIN, COMBINED, KEY, fingerprint_in, inspect_pair, read_pair
from certagent.domain.deployments import Generation, LivePair, RollbackResult
from certagent.system.file_content import FileContent, Owner
from certagent.system.files import (
    find_owner,
    is_file_as,
    make_folder,
    read_link,
    require_writable,
    swap_link,
    write_file,
)
from certagent.system.folder_syncs import synced_once
from certagent.system.folders import Folder
from certagent.system.path_walk import open_folder, read_linked
from certagent.system.processes import ReloadCoordinator
from certagent.system.unsafe_paths import ChangeableFolder, Danger, UnsafePathError

BEFORE = 0
FOLDER_MODE = 0o755  # the key's own mode protects it; the service must get at its files

Files = Mapping[str, FileContent]
"""A generation's files by name; `KEY` and `CHAIN` are among them."""

_KEPT = 2
_Member = TypeVar("_Member")
_GENERATION = re.compile(r"[0-9]+(\.[0-9]+)?")


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

    def files_of(self, generation: Generation) -> dict[str, FileContent]:
        """Key and chain."""
        return {KEY: self.key_file(generation.key_pem), CHAIN: self.chain_file(generation.chain_pem)}

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
        self._require_no_strangers()
        require_writable(self.root)

    def put(self, number: int, files: Files, *, is_durable: bool = True) -> Path:
        """The folder that holds exactly these files, with these modes and owners, under this number; made whole if it
        is not there yet. Not `is_durable`: it is on the disk with the link that leads to it."""
        found = self._find(number, files)
        if found is not None:
            return found
        with open_folder(self.root) as store:
            taken = store.names()
            name = next(name for name in _candidates(number) if name not in taken)
            store.add(name, dict(files), FOLDER_MODE, is_durable=is_durable)
        return self.root / name

    def find(self, number: int, files: Files) -> Path:
        """The folder that these files were put in. Raises FileNotFoundError when they never were."""
        found = self._find(number, files)
        if found is None:
            raise FileNotFoundError(f"generation {number} was never staged in {self.root}")
        return found

    def proven(self) -> Path | None:
        """What a roll-back goes to, if there is anything."""
        folder = self.behind("proven")
        return folder if folder is not None and read_pair(folder) is not None else None

    def behind(self, link: str) -> Path | None:
        """The generation that a link in the folder names."""
        target = read_link(self.root / link)
        return self.root / target if target is not None and _GENERATION.fullmatch(target) else None

    def holds(self, file: Path) -> bool:
        """Whether that is the path of a generation's file."""
        folder = file.parent
        return folder.parent == self.root.absolute() and _GENERATION.fullmatch(folder.name) is not None

    def settle(self, folder: Path) -> None:
        """That one is proven. A power cut may lose that: a roll-back then goes to the one before."""
        swap_link(self.root / "proven", folder.name, is_durable=False)

    def prune(self, *live: Path) -> None:
        """Drop what is neither live, proven, among the newest, nor what was there before certagent. Keys go first; what
        is left where that was broken off is not among the newest."""
        kept = {folder.name for folder in (*live, self.proven()) if folder is not None} | {str(BEFORE)}
        with open_folder(self.root) as store:
            found = [(store.status(name), name) for name in store.names() if _GENERATION.fullmatch(name)]
            found = [(status, name) for status, name in found if stat.S_ISDIR(status.st_mode)]
            found.sort(key=lambda one: one[0].st_ctime_ns)
            whole = [name for _, name in found if _is_whole(store, name)]
            kept |= set(whole[-_KEPT:])
            for _, name in found:
                if name not in kept:
                    store.remove_if_only(name, (COMBINED, KEY, CHAIN))

    def _require_no_strangers(self) -> None:
        """Where many can make folders (in /tmp), somebody may have made this one, to choose what is live. Raises
        `UnsafePathError`."""
        with open_folder(self.root.parent) as above, above.enter(self.root.name) as store:
            if above.trust.changeable is not None and store.uid not in (0, os.geteuid(), above.uid):
                theirs = ChangeableFolder(self.root, store.uid, store.mode)
                raise UnsafePathError(self.root, Danger.STRANGERS, theirs)

    def _find(self, number: int, files: Files) -> Path | None:
        with open_folder(self.root) as store:
            staged = takewhile(store.names().__contains__, _candidates(number))
            found = next((name for name in staged if _holds(store, name, files)), None)
        return self.root / found if found is not None else None


def _holds(store: Folder, name: str, files: Files) -> bool:
    try:
        with store.enter(name) as generation:
            return all(is_file_as(generation, file, files[file]) for file in files)
    except FileNotFoundError:
        return False


def _is_whole(store: Folder, name: str) -> bool:
    with store.enter(name) as generation:
        return {KEY, CHAIN} <= set(generation.names())


def _candidates(number: int) -> Iterator[str]:
    yield str(number)
    attempt = 0
    while True:
        attempt += 1
        yield f"{number}.{attempt}"


class Link(NamedTuple):
    """A configured path as a link of ours: where it leads, and which file of a generation that is."""

    path: Path
    target: str
    name: str


class SymlinkedPair:
    """The file part of a target with configured paths for certificate and key. See `Target` for the contract."""

    service: Hashable = None
    reloaded: Any = None

    def __init__(
        self,
        name: str,
        settings: NginxTarget | CommandTarget | HaproxyTarget,
        reloads: ReloadCoordinator,
        reads: Hashable,
    ) -> None:
        """`reads`: the service that reads the files."""
        self._certificate_name = name
        self._reloads = reloads
        self._certificate = certificate = settings.certificate
        self._key = certificate if isinstance(settings, HaproxyTarget) else settings.key
        self._reader = settings.reader
        self._ownership = Ownership(settings.owner, settings.group, settings.mode)
        self._generations = GenerationStore(certificate.parent / f".certagent-{name}")
        self._current = self._generations.root / "current"
        self._reads = reads
        self.files = reloads.files_of(reads)

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
        files = self._shown()
        return msgspec.structs.replace(inspect_pair(self._certificate, files[0], files[-1]), key_file=str(self._key))

    def lock_file(self) -> Path:
        """See `Target`: by the certificate's path, not by what the agent calls it."""
        return self._certificate.parent / f".certagent-{self._certificate.name}.lock"

    def prepare(self) -> None:
        """See `Target`."""
        require_no_client(self._certificate, self._key)
        self._ownership.find()
        for folder in dict.fromkeys((self._certificate.parent, self._key.parent)):
            require_writable(folder)
        self._generations.prepare()
        for file in self._shown():
            _read(file)  # it may have to be taken over

    def stage(self, generation: Generation) -> Path:
        """See `Target`."""
        self.prepare()
        return self._generations.put(generation.number, self.files_of(generation), is_durable=False)

    def has_settled(self) -> bool:
        """See `Target`: that cannot be seen here."""
        return False

    def files_of(self, generation: Generation) -> Files:
        """What a generation's folder holds."""
        return self._ownership.files_of(generation)

    def writing(self) -> AbstractAsyncContextManager[None]:
        """See `Target`."""
        return self.files.writing()

    async def in_turn(self, member: _Member, act: Callable[[Sequence[_Member]], Awaitable[None]]) -> None:
        """See `Target`."""
        if self.service is not None:
            await self._reloads.gather(self.service, self._certificate_name, member, act)
        else:
            await self._reloads.gather((self._reads, "itself"), "", member, act, apart=0.0, reads=self.files)

    def promote(self, generation: Generation) -> None:
        """See `Target`. Finds the paths as links, as somebody's files, or not at all."""
        folder = self._generations.find(generation.number, self.files_of(generation))
        with synced_once():
            if any(read_link(link.path) != link.target for link in self._links()):
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
        folder = self._generations.find(generation.number, self.files_of(generation))
        self._generations.settle(folder)
        self._generations.prune(folder)

    def _shown(self) -> tuple[Path, ...]:
        """The files that the paths show: behind our own links the generation's, so that no link has to be followed."""
        links = self._links()
        ours = [link for link in links if read_link(link.path) == link.target]
        behind = (self._generations.behind("current") if ours else None) or self._generations.root
        return tuple(behind / link.name if link in ours else link.path for link in links)

    def _links(self) -> tuple[Link, ...]:
        """The certificate's first, the key's last."""
        current = f"{self._generations.root.name}/current"
        is_near = self._key.parent == self._certificate.parent
        return (
            Link(self._certificate, f"{current}/{CHAIN}", CHAIN),
            Link(self._key, f"{current}/{KEY}" if is_near else str(self._current.absolute() / KEY), KEY),
        )

    def _link(self) -> None:
        for link in self._links():
            swap_link(link.path, link.target)

    def _take_over(self) -> None:
        """Keep what is at the paths now as the generation from before; then show the same content through links."""
        found = self._found()
        if found is None:
            self._keep_half()
            return
        folder = self._generations.put(BEFORE, found)
        if fingerprint_in(folder) is not None:
            self._generations.settle(folder)
        swap_link(self._current, folder.name)
        self._link()

    def _found(self) -> Files | None:
        """What is at the paths now, as a generation's files; None where that is half a pair, or nothing."""
        files = self._shown()
        chain, key = _read(files[0]), _read(files[-1])
        return None if key is None or chain is None else {KEY: key, CHAIN: chain}

    def _keep_half(self) -> None:
        """Half a pair serves nobody, but it is not ours to lose."""
        for link in self._links():
            half = _read(link.path) if read_link(link.path) != link.target else None
            if half is not None:
                write_file(self._generations.root / f"before.{link.path.name}", half)


def _read(path: Path) -> FileContent | None:
    """A file with its mode and owner, through the links that may be followed."""
    try:
        return read_linked(path)
    except FileNotFoundError:
        return None
