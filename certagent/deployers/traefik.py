"""Traefik's file provider: one YAML that names a generation's folder. Its rename is promotion and trigger in one.

```
<certificates>/<name>/<N>/{privkey.pem, fullchain.pem}       default for <certificates>: `certagent` beside <dynamic>
<dynamic>/certagent-<name>.yml
```
Traefik watches <dynamic> and no certificate file (docs/facts.md), so the YAML is written elsewhere and renamed into it.
Which certificates it has loaded its API says (`GET /api/certificates`, since 3.7).
"""

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from certagent.config import TraefikTarget
from certagent.deployers.foreign_folders import require_no_client
from certagent.deployers.generation_store import FOLDER_MODE, GenerationStore, Ownership
from certagent.deployers.pair_inspection import CHAIN, KEY, fingerprint_in, inspect_pair
from certagent.domain.deployments import Fault, Generation, LivePair, Proof, RollbackResult
from certagent.system.files import FileContent, make_folder, read_file, remove_file, require_writable, write_file
from certagent.system.http import FetchError, connect, fetch
from certagent.system.path_walk import open_folder
from certagent.system.procfs import ProcFs

ANSWER_SECONDS = 5.0
READ_AGAIN_SECONDS = 3.0
"""After which Traefik has read what is there: it takes up two changes 2 s apart (`providersThrottleDuration`)."""
_PAGE = 50  # of about 600 bytes each: a page stays within what is read of an answer
_MOST_PAGES = 100

_Member = TypeVar("_Member")


class Loaded(msgspec.Struct, frozen=True, rename="camel"):
    """One certificate that Traefik has loaded."""

    cert_fingerprint: str = ""
    sans: tuple[str, ...] = ()


class Loss(NamedTuple):
    """A file of ours that is gone with nothing in its place; or one that `is_older` than what was proven."""

    file: Path
    is_older: bool = False


async def loaded_certificates(api: str) -> tuple[Loaded, ...] | None:
    """All of them; None where the API does not answer, or is of a Traefik that does not have it."""
    found: list[Loaded] = []
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            for page in range(1, _MOST_PAGES + 1):
                certificates, following = await _page(api, page)
                found += certificates
                if following <= page:
                    break
    except (OSError, FetchError, TimeoutError, ValueError, msgspec.MsgspecError):
        return None
    return tuple(found)


async def _page(api: str, page: int) -> tuple[list[Loaded], int]:
    """(certificates, number of the next page); Traefik says 1 on the last one."""
    parts = urlsplit(api)
    connection = await connect(parts.hostname or "", parts.port or 80)
    target = f"{parts.path.rstrip('/')}/api/certificates?page={page}&per_page={_PAGE}"
    reply = await fetch(connection, parts.netloc, target, "certagent")
    if reply.status != 200 or not reply.is_whole:
        raise ValueError(f"status {reply.status}")
    return msgspec.json.decode(reply.body, type=list[Loaded]), int(reply.headers.get("x-next-page", "1"))


class Traefik:
    """A certificate that Traefik loads by its file provider. Implements `Target`."""

    kind = "traefik"
    service = None
    reloaded = None

    def __init__(self, name: str, settings: TraefikTarget) -> None:
        self._certificates = settings.certificates or settings.dynamic.parent / "certagent"
        self._yaml = settings.dynamic / f"certagent-{name}.yml"
        self._api = settings.api
        self._reader = settings.reader
        self._ownership = Ownership(settings.owner, settings.group, settings.mode)
        self._generations = GenerationStore(self._certificates / name)
        self.name = f"traefik {self._yaml}"

    def reader(self) -> str | None:
        """As configured, else whom the running Traefik runs as; None where that cannot be seen."""
        if self._reader is not None:
            return self._reader
        proc = ProcFs()
        try:
            found = [process for process in proc.processes("traefik") if proc.shares(process.pid, "pid")]
            users = [proc.user_of(process.pid) for process in found]
        except OSError:  # another user's, or one that has just ended
            return None
        return next((str(user) for user in users if user is not None), None)

    def reads_because(self) -> str | None:
        """See `Target`."""
        return None

    def key_file(self, folder: Path) -> Path:
        """See `Target`: where it lies is where Traefik reads it."""
        return folder / KEY

    def live(self) -> LivePair:
        """See `Target`: what the YAML names."""
        chain, key = self._named_pair() or (self._generations.root / CHAIN, self._generations.root / KEY)
        return inspect_pair(self._yaml, chain, key)

    def live_files(self) -> tuple[Path, ...]:
        """Our YAML, and the certificate that it names."""
        named = self._named_pair()
        return (self._yaml, named[0]) if named is not None else (self._yaml,)

    def find_loss(self, is_older: Callable[[str], bool]) -> Loss | None:
        """Our YAML, or a file of the generation that it names, if that is gone and nothing is in its place; or our YAML
        where it names a generation with a fingerprint that `is_older`. None while the folder itself is gone, and for a
        YAML that is not as we wrote it."""
        if not self._yaml.parent.is_dir():
            return None
        if not os.path.lexists(self._yaml):
            return Loss(self._yaml)
        document = read_file(self._yaml)
        named = _named(document)
        if named is None or not _is_ours(document) or named[0].parent.parent != self._generations.root.absolute():
            return None
        gone = next((file for file in named if not os.path.lexists(file)), None)
        if gone is not None:
            return Loss(gone)
        fingerprint = fingerprint_in(named[0].parent)
        return Loss(self._yaml, is_older=True) if fingerprint is not None and is_older(fingerprint) else None

    def _named_pair(self) -> tuple[Path, Path] | None:
        """What the YAML names. Where others can change it, only if that is one of the generations: it could name any
        file."""
        named = _named(read_file(self._yaml))
        if named is None or all(self._generations.holds(file) for file in named):
            return named
        with open_folder(self._yaml.parent) as folder:
            return named if folder.trust.changeable is None else None

    def lock_file(self) -> Path:
        """See `Target`. Not in the folder that Traefik watches."""
        return self._certificates / f".{self._yaml.name}.lock"

    def prepare(self) -> None:
        """See `Target`."""
        require_no_client(self._yaml, self._generations.root)
        self._ownership.find()
        require_writable(self._yaml.parent)
        make_folder(self._certificates, FOLDER_MODE)
        self._generations.prepare()

    def stage(self, generation: Generation) -> Path:
        """See `Target`."""
        self.prepare()
        return self._generations.put(generation.number, self._ownership.files_of(generation))

    def writing(self) -> AbstractAsyncContextManager[None]:
        """Nothing to wait for: a folder that a YAML names never changes."""
        return nullcontext()

    async def in_turn(self, member: _Member, act: Callable[[Sequence[_Member]], Awaitable[None]]) -> None:
        """See `Target`: nothing is shared."""
        await act([member])

    def promote(self, generation: Generation) -> None:
        """See `Target`. What somebody else wrote in place of our YAML is kept beside the generations."""
        folder = self._generations.find(generation.number, self._ownership.files_of(generation))
        found = read_file(self._yaml)
        if found is not None and not _is_ours(found):
            write_file(self._generations.root / f"before.{self._yaml.name}", FileContent(content=found, mode=0o600))
        self._name(folder)

    async def validate(self) -> Fault | None:
        """Traefik has no test of a configuration; what it drops shows in the handshake."""
        return None

    async def reload(self) -> Fault | None:
        """The rename was the trigger. Where nothing had to be renamed, a new one of the same content is."""
        return None

    def has_settled(self) -> bool:
        """See `Target`: that cannot be seen here."""
        return False

    async def explain(self, generation: Generation, proof: Proof) -> list[Fault]:
        """Whether Traefik has loaded it at all, by its API; and if so, what else it has for the same names."""
        loaded = await loaded_certificates(self._api) if self._api is not None else None
        if loaded is None:
            return []
        fingerprint = generation.facts.fingerprint
        if all(certificate.cert_fingerprint != fingerprint for certificate in loaded):
            return [_not_loaded(self.name, self._yaml, loaded)]
        others = [certificate for certificate in loaded if certificate.cert_fingerprint != fingerprint]
        rivals = [other for other in others if set(other.sans) & set(generation.facts.identifiers)]
        return [_rivalled(self.name, self._yaml, rivals)] if rivals else []

    def roll_back(self) -> RollbackResult | None:
        """See `Target`. Before the first settled generation there was no YAML of ours: then it goes away again. What
        somebody else has put in its place since stays."""
        folder = self._generations.proven()
        live = read_file(self._yaml)
        if not _is_ours(live) or (folder is not None and live == _document(folder)):
            return None
        if folder is None:
            remove_file(self._yaml)
            return RollbackResult(None)
        self._name(folder)
        return RollbackResult(fingerprint_in(folder))

    def settle(self, generation: Generation) -> None:
        """See `Target`."""
        folder = self._generations.find(generation.number, self._ownership.files_of(generation))
        self._generations.settle(folder)
        self._generations.prune(folder)

    def _name(self, folder: Path) -> None:
        """Renamed even when it says so already: that makes Traefik read the pair again."""
        write_file(self._yaml, FileContent(content=_document(folder), mode=0o644), staging=self._generations.root)


def _not_loaded(name: str, yaml: Path, loaded: Sequence[Loaded]) -> Fault:
    return Fault(
        code="deploy.traefik_not_loaded",
        facts={"target": name, "count": len(loaded), "folder": str(yaml.parent)},
        file=str(yaml),
        detail={"loaded": [certificate.cert_fingerprint for certificate in loaded[:20]]},
    )


def _rivalled(name: str, yaml: Path, rivals: Sequence[Loaded]) -> Fault:
    return Fault(
        code="deploy.served_old",
        variant="rivals",
        facts={"target": name, "count": len(rivals)},
        file=str(yaml),
        detail={"rivals": [rival.cert_fingerprint for rival in rivals[:20]]},
    )


def _named(document: bytes | None) -> tuple[Path, Path] | None:
    """(chain, key) as our own form of the YAML names them; None for whatever else is there."""
    found = dict(re.findall(r'(certFile|keyFile): ("(?:[^"\\]|\\.)*")', (document or b"").decode("utf-8", "replace")))
    if found.keys() != {"certFile", "keyFile"}:
        return None
    return Path(json.loads(found["certFile"])), Path(json.loads(found["keyFile"]))


def _is_ours(document: bytes | None) -> bool:
    """Whether it is exactly what we write."""
    named = _named(document)
    return named is not None and document == _document(named[0].parent)


def _document(folder: Path) -> bytes:
    """JSON strings are YAML strings."""
    chain, key = (json.dumps(str((folder / name).absolute())) for name in (CHAIN, KEY))
    return (
        "# Written by certagent, which replaces this file with every renewal.\n"
        f"tls:\n  certificates:\n    - certFile: {chain}\n      keyFile: {key}\n"
    ).encode()
