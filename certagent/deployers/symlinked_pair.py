"""A pair at two configured paths that changes in one rename: both are links through one `current`.

```
<certificate's folder>/.certagent-<name>/current -> <N>            the rename
<certificate> -> .certagent-<name>/current/fullchain.pem
<key>         -> .certagent-<name>/current/privkey.pem
```
Files that were there before are taken over first: copied as a generation of their own, then replaced one by one by
links that show the same content, so that at every instant the pair on disk matches.
"""

import os
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from certagent.config import CommandTarget, NginxTarget
from certagent.deployers.generation_store import BEFORE, CHAIN, KEY, GenerationStore, Ownership, fingerprint_in
from certagent.deployers.pair_inspection import look_at_pair
from certagent.domain.deployments import Generation, LivePair, RollbackResult
from certagent.system.file_lock import ReadersWriters
from certagent.system.files import FileContent, Owner, read_link, require_writable, swap_link, write_file


class SymlinkedPair:
    """The file part of a target with configured paths for certificate and key. See `Target` for the contract."""

    def __init__(self, name: str, settings: NginxTarget | CommandTarget, files: ReadersWriters) -> None:
        self._certificate = certificate = settings.certificate
        self._key = settings.key
        self._reader = settings.reader
        self._ownership = Ownership(settings.owner, settings.group, settings.mode)
        self._shelf = GenerationStore(certificate.parent / f".certagent-{name}")
        self._current = self._shelf.root / "current"
        self.files = files

    def reader(self) -> str | None:
        """See `Target`."""
        return self._reader

    def live(self) -> LivePair:
        """See `Target`."""
        return look_at_pair(self._certificate, self._certificate, self._key)

    def lock_file(self) -> Path:
        """See `Target`: by the certificate's path, not by what the agent calls it."""
        return self._certificate.parent / f".certagent-{self._certificate.name}.lock"

    def prepare(self) -> None:
        """See `Target`."""
        self._ownership.find()
        for path in (self._certificate, self._key):
            require_writable(path.parent)
        self._shelf.prepare()

    def stage(self, generation: Generation) -> Path:
        """See `Target`."""
        self.prepare()
        key = self._ownership.key_file(generation.key_pem)
        return self._shelf.put(generation.number, key, self._ownership.chain_file(generation.chain_pem))

    def still(self) -> AbstractAsyncContextManager[None]:
        """See `Target`."""
        return self.files.changing()

    def promote(self, generation: Generation) -> None:
        """See `Target`. Finds the paths as links, as somebody's files, or not at all."""
        folder = self._shelf.find(generation)
        if not self._is_linked():
            self._take_over()
        swap_link(self._current, folder.name)
        self._link()

    def roll_back(self) -> RollbackResult | None:
        """See `Target`."""
        folder = self._shelf.proven()
        if folder is None or read_link(self._current) == folder.name:
            return None
        swap_link(self._current, folder.name)
        return RollbackResult(fingerprint_in(folder))

    def settle(self, generation: Generation) -> None:
        """See `Target`."""
        folder = self._shelf.find(generation)
        self._shelf.settle(folder)
        self._shelf.prune(folder)

    def _is_linked(self) -> bool:
        return all(read_link(path) == target for path, target in self._links())

    def _links(self) -> tuple[tuple[Path, str], tuple[Path, str]]:
        beside = f"{self._shelf.root.name}/current"
        return (
            (self._certificate, f"{beside}/{CHAIN}"),
            (self._key, f"{beside}/{KEY}" if self._key.parent == self._certificate.parent else self._far_key()),
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
        folder = self._shelf.put(BEFORE, key, chain)
        if fingerprint_in(folder) is not None:
            self._shelf.settle(folder)
        swap_link(self._current, folder.name)
        self._link()

    def _keep_half(self) -> None:
        """Half a pair serves nobody, but it is not ours to lose."""
        for path, target in self._links():
            half = _as_it_is(path) if read_link(path) != target else None
            if half is not None:
                write_file(self._shelf.root / f"before.{path.name}", half)


def _as_it_is(path: Path) -> FileContent | None:
    """A file with its mode and owner, through whatever links lead to it."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            return FileContent(content=file.read(), mode=found.st_mode & 0o777, owner=Owner(found.st_uid, found.st_gid))
    except FileNotFoundError:
        return None
