"""The state folder: this module is its only writer. Accounts, generations, pending orders, the run journal, records.

```
accounts/<digest of the directory's URL>/account.json
certificates/<name>/{lock, order.json, run.json, last.json, unchallenged.json, revoked.json, proven -> generations/<N>}
certificates/<name>/generations/<N>/{privkey.pem, fullchain.pem}
records/<name>.json
fixes/<id>/{fix.json, <file's name>.before}
```
Files are 0600 and folders 0700 from the first byte; everything changes by write-then-rename, link swap or removal,
so that a killed process leaves the old or the new. Everything here blocks, and raises OSError when the disk does.
What an issued certificate needs is on the disk before anything goes on: its key with the order, then the pair. How far
a run is, a power cut may lose: what is issued is then deployed again, and a finished order found to be finished.
"""

import hashlib
import logging
import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import msgspec

from certagent.domain.certificates import CertificateFacts, read_leaf
from certagent.domain.chains import Roots
from certagent.domain.deployments import Generation
from certagent.domain.fixes import Fix
from certagent.domain.orders import Account, PendingOrder
from certagent.domain.reports import Outcome, Trigger
from certagent.system.files import (
    FileContent,
    lock_file,
    make_folder,
    make_own_folder,
    read_file,
    read_files,
    read_link,
    remove_file,
    remove_folder,
    swap_link,
    write_file,
    write_folder,
)

log = logging.getLogger(__name__)

KEPT_GENERATIONS = 3

_KEY = "privkey.pem"
_CHAIN = "fullchain.pem"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_Value = TypeVar("_Value")


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A renewal under way. Found at a start, it was killed: it is reported as interrupted under the same id, and a
    `generation` that it names is deployed to the end without a new order."""

    id: str
    certificate: str
    trigger: Trigger
    step: str
    started_at: datetime
    generation: int | None = None


class LastRun(msgspec.Struct, frozen=True, kw_only=True):
    """How the last run ended."""

    outcome: Outcome
    at: datetime


class UnchallengedRenewals(msgspec.Struct, frozen=True, kw_only=True):
    """Renewals in a row that the CA made without a challenge."""

    count: int
    since: datetime


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """The last one that the CA was told to revoke."""

    fingerprint: str


class State:
    """The state folder. Makes it, or takes it over; its parent must exist. `roots`: where a chain ends for who trusts
    them. Raises `UnsafePathError` where others could exchange it."""

    def __init__(self, root: Path, roots: Roots = ()) -> None:
        self._root = root
        self._roots = roots
        make_own_folder(root)
        for folder in (root / "accounts", root / "certificates", root / "records"):
            make_folder(folder)

    def account(self, directory: str) -> "AccountFile":
        """The account at one ACME directory (its URL)."""
        digest = hashlib.sha256(directory.encode()).hexdigest()[:16]
        return AccountFile(self._root / "accounts" / digest)

    def certificate(self, name: str) -> "CertificateFolder":
        """The folder of one configured certificate. Raises ValueError for what cannot be a name."""
        return CertificateFolder(self._root / "certificates" / _checked(name), self._roots)

    def fixes(self) -> "FixFolder":
        """What `certagent fix` changed on this node."""
        return FixFolder(self._root / "fixes")

    def read_record(self, name: str, kind: type[_Value]) -> _Value | None:
        """A record of other parts of the agent, or None when there is none, or none that can be read."""
        return _read(self._root / "records" / f"{_checked(name)}.json", kind)

    def write_record(self, name: str, value: object) -> None:
        """Keep a record: anything that msgspec writes as JSON."""
        _write(self._root / "records" / f"{_checked(name)}.json", value)

    def note_record(self, name: str, value: object) -> None:
        """Keep a record that can be done without: a disk that does not take it stops nobody."""
        try:
            self.write_record(name, value)
        except OSError as error:
            log.warning("the record %s cannot be saved: %s", name, error)

    def forget_record(self, name: str) -> None:
        """It says nothing any more."""
        try:
            remove_file(self._root / "records" / f"{_checked(name)}.json")
        except OSError as error:
            log.warning("the record %s cannot be removed: %s", name, error)


class AccountFile:
    """One account; the key is kept before the CA knows it, so that a crash does not leave an account without key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self) -> Account | None:
        """The account, if there is one."""
        return _read(self._folder / "account.json", Account)

    def save(self, account: Account) -> None:
        """Keep it."""
        make_folder(self._folder)
        _write(self._folder / "account.json", account)


class FixFolder:
    """The journal of fixes, each with a backup of every file, kept before anything is changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)

    def keep(self, fix: Fix, backups: Mapping[str, bytes]) -> None:
        """Journal and backups (file -> content before), whole as soon as they exist."""
        files = {_backup_name(file): FileContent(content=content) for file, content in backups.items()}
        journal = {"fix.json": FileContent(content=msgspec.json.encode(fix))}
        write_folder(self._folder / _checked(fix.id), journal | files)

    def all(self) -> tuple[Fix, ...]:
        """Those that can be read, oldest first."""
        found = (_read(self._folder / name / "fix.json", Fix) for name in sorted(os.listdir(self._folder)))
        return tuple(fix for fix in found if fix is not None)

    def latest(self) -> Fix | None:
        """The last one that is not undone."""
        return next((fix for fix in reversed(self.all()) if fix.undone_at is None), None)

    def backup(self, fix: Fix, file: str) -> bytes | None:
        """The file as it was before that fix."""
        return read_file(self._folder / fix.id / _backup_name(file))

    def path_of(self, fix: Fix) -> Path:
        """Where a person finds it."""
        return self._folder / fix.id

    def save(self, fix: Fix) -> None:
        """Say what became of it."""
        _write(self._folder / fix.id / "fix.json", fix)


class CertificateFolder:
    """All that is known of one certificate. Whoever changes it holds `lock()`."""

    def __init__(self, folder: Path, roots: Roots = ()) -> None:
        self._folder = folder
        self._roots = roots
        self._generations = folder / "generations"
        make_folder(folder)
        make_folder(self._generations)

    def lock(self, holder: str) -> AbstractContextManager[None]:
        """Be the only one who works on it; the lock ends with the process, however that ends. Raises `LockedError`."""
        return lock_file(self._folder / "lock", holder)

    def sweep(self) -> None:
        """Remove what a killed process had not finished writing: a key in it belongs to nothing."""
        for path in (*self._folder.glob(".*.new"), *self._generations.glob(".*.new")):
            remove_folder(path)

    def add_generation(self, key_pem: bytes, chain_pem: bytes) -> Generation:
        """Keep a key and its chain (leaf first) under the next number. The same pair twice is one generation. Raises
        ValueError when the chain holds no certificate."""
        facts, newest = _read_leaf(chain_pem, self._roots), self.newest()
        if newest is not None and newest.facts.fingerprint == facts.fingerprint:
            return newest
        number = max(self.numbers(), default=0) + 1
        files = {_KEY: FileContent(content=key_pem), _CHAIN: FileContent(content=chain_pem)}
        write_folder(self._generations / str(number), files)
        return Generation(number=number, key_pem=key_pem, chain_pem=chain_pem, facts=facts)

    def generation(self, number: int) -> Generation | None:
        """One of them, if it is kept and whole."""
        folder = self._generations / str(number)
        try:
            found = [os.lstat(folder / name) for name in (_KEY, _CHAIN)]
            stamps = tuple((one.st_dev, one.st_ino, one.st_size, one.st_ctime_ns) for one in found)
            return _generation_in(folder, stamps, self._roots)
        except (FileNotFoundError, ValueError):
            return None

    def numbers(self) -> list[int]:
        """Those that are kept, oldest first."""
        return sorted(int(name) for name in os.listdir(self._generations) if name.isdigit())

    def newest(self) -> Generation | None:
        """The one issued last, deployed or not."""
        numbers = self.numbers()
        return self.generation(numbers[-1]) if numbers else None

    def proven(self) -> Generation | None:
        """The one that was last proven to be served everywhere."""
        target = read_link(self._folder / "proven")
        return self.generation(int(target.rpartition("/")[2])) if target else None

    def facts(self) -> CertificateFacts | None:
        """The certificate that is proven, or else the newest one that was issued."""
        generation = self.proven() or self.newest()
        return generation.facts if generation else None

    def holds(self, fingerprint: str) -> bool:
        """Whether a certificate is one of ours, as far as they are kept."""
        kept = (self.generation(number) for number in reversed(self.numbers()))
        return any(generation is not None and generation.facts.fingerprint == fingerprint for generation in kept)

    def set_proven(self, number: int) -> None:
        """That one is proven; drop what is too old to be of use."""
        swap_link(self._folder / "proven", f"generations/{number}", is_durable=False)
        for old in self.numbers()[:-KEPT_GENERATIONS]:
            if old != number:
                remove_folder(self._generations / str(old))

    def pending_order(self) -> PendingOrder | None:
        """The order under way, with the private key that its certificate is for."""
        return _read(self._folder / "order.json", PendingOrder)

    def save_order(self, order: PendingOrder) -> None:
        """Keep it."""
        _write(self._folder / "order.json", order)

    def forget_order(self) -> None:
        """It came to an end."""
        remove_file(self._folder / "order.json", is_durable=False)

    def note_revoked(self, generation: Generation) -> None:
        """The CA was told to revoke that one."""
        _write(self._folder / "revoked.json", Revoked(fingerprint=generation.facts.fingerprint))

    def is_revoked(self, generation: Generation) -> bool:
        """Whether the CA was told to."""
        known = _read(self._folder / "revoked.json", Revoked)
        return known is not None and known.fingerprint == generation.facts.fingerprint

    def unchallenged(self) -> UnchallengedRenewals | None:
        """How often in a row it was renewed without a challenge; None after a renewal with one."""
        return _read(self._folder / "unchallenged.json", UnchallengedRenewals)

    def count_unchallenged(self, now: datetime) -> UnchallengedRenewals:
        """Once more."""
        known = self.unchallenged() or UnchallengedRenewals(count=0, since=now)
        counted = msgspec.structs.replace(known, count=known.count + 1)
        _write(self._folder / "unchallenged.json", counted)
        return counted

    def forget_unchallenged(self) -> None:
        """A challenge was passed."""
        remove_file(self._folder / "unchallenged.json")

    def run(self) -> RunRecord | None:
        """The run under way; at a start: the one that was killed."""
        return _read(self._folder / "run.json", RunRecord)

    def save_run(self, run: RunRecord) -> None:
        """Say how far it is."""
        _write(self._folder / "run.json", run, is_durable=False)

    def end_run(self, last: LastRun) -> None:
        """It came to an end, and was reported."""
        _write(self._folder / "last.json", last, is_durable=False)
        remove_file(self._folder / "run.json", is_durable=False)

    def last(self) -> LastRun | None:
        """How the last run ended."""
        return _read(self._folder / "last.json", LastRun)


_read_leaf = lru_cache(maxsize=256)(read_leaf)  # again and again while certificates are worked on; 2 KiB each


@lru_cache(maxsize=64)
def _generation_in(folder: Path, _: tuple[tuple[int, ...], ...], roots: Roots) -> Generation:
    """As it was read while its files had those stamps. Raises FileNotFoundError for half of one, and ValueError."""
    key_pem, chain_pem = read_files(folder, _KEY, _CHAIN)
    if key_pem is None or chain_pem is None:
        raise FileNotFoundError(folder)
    return Generation(number=int(folder.name), key_pem=key_pem, chain_pem=chain_pem, facts=_read_leaf(chain_pem, roots))


def _backup_name(file: str) -> str:
    return f"{Path(file).name}.before"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be used as a name in the state folder")
    return name


def _read(path: Path, kind: type[_Value]) -> _Value | None:
    content = read_file(path)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError:
        path.rename(path.with_suffix(".unreadable"))
        return None


def _write(path: Path, value: object, *, is_durable: bool = True) -> None:
    write_file(path, FileContent(content=msgspec.json.encode(value)), is_durable=is_durable)
