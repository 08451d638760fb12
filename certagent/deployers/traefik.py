"""Traefik's file provider: one YAML that names a generation's folder. Its rename is promotion and trigger in one.

```
<certificates>/<name>/<N>/{privkey.pem, fullchain.pem}       default for <certificates>: `certagent` beside <dynamic>
<dynamic>/certagent-<name>.yml
```
Traefik watches <dynamic> and no certificate file (FACTS), so the YAML is written elsewhere and renamed into it.
"""

import json
from pathlib import Path

from certagent.config import TraefikTarget
from certagent.deployers.shelf import CHAIN, FOLDER_MODE, KEY, Ownership, Shelf, fingerprint_in
from certagent.domain.deployments import Fault, Generation, Restored
from certagent.world.files import FileContent, make_folder, read_file, remove_file, require_writable, write_file


class Traefik:
    """A certificate that Traefik loads by its file provider. Implements `Target`."""

    kind = "traefik"

    def __init__(self, name: str, settings: TraefikTarget) -> None:
        self._certificates = settings.certificates or settings.dynamic.parent / "certagent"
        self._yaml = settings.dynamic / f"certagent-{name}.yml"
        self._ownership = Ownership(settings.owner, settings.group)
        self._shelf = Shelf(self._certificates / name)
        self.name = f"traefik {self._yaml}"

    def prepare(self) -> None:
        """See `Target`."""
        self._ownership.find()
        require_writable(self._yaml.parent)
        make_folder(self._certificates, FOLDER_MODE)
        self._shelf.prepare()

    def stage(self, generation: Generation) -> Path:
        """See `Target`."""
        self.prepare()
        key = self._ownership.key_file(generation.key_pem)
        return self._shelf.put(generation.number, key, self._ownership.chain_file(generation.chain_pem))

    def promote(self, generation: Generation) -> None:
        """See `Target`."""
        self._name(self._shelf.find(generation))

    async def validate(self) -> Fault | None:
        """Traefik has no test of a configuration; what it drops shows in the handshake."""
        return None

    async def reload(self) -> Fault | None:
        """The rename was the trigger. Where nothing had to be renamed, a new one of the same content is."""
        return None

    def roll_back(self) -> Restored | None:
        """See `Target`. Before the first settled generation there was no YAML of ours: then it goes away again."""
        folder = self._shelf.proven()
        live = read_file(self._yaml)
        if live is None or (folder is not None and live == _document(folder)):
            return None
        if folder is None:
            remove_file(self._yaml)
            return Restored(None)
        self._name(folder)
        return Restored(fingerprint_in(folder))

    def settle(self, generation: Generation) -> None:
        """See `Target`."""
        folder = self._shelf.find(generation)
        self._shelf.settle(folder)
        self._shelf.prune(folder)

    def _name(self, folder: Path) -> None:
        """Renamed even when it says so already: that makes Traefik read the pair again."""
        write_file(self._yaml, FileContent(content=_document(folder), mode=0o644), staging=self._shelf.root)


def _document(folder: Path) -> bytes:
    """JSON strings are YAML strings."""
    chain, key = (json.dumps(str((folder / name).absolute())) for name in (CHAIN, KEY))
    return (
        "# Written by certagent, which replaces this file with every renewal.\n"
        f"tls:\n  certificates:\n    - certFile: {chain}\n      keyFile: {key}\n"
    ).encode()
