"""Root works in a folder that another user owns, while that user exchanges what root makes there for links and back.

Each place where root writes is tried so many times (`tests/tiers.toml`); the user is a process of its own, which does
nothing else. Whatever comes of a try, nothing outside of the folder is changed, read or removed.
"""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from certagent.config import CommandTarget, TraefikTarget
from certagent.deployers.deploy import make_target
from certagent.domain.orders import Challenge, Status
from certagent.issuance.order import NotPresentedError
from certagent.issuance.solvers.webroot import Webroot
from certagent.system.files import LockedError, lock_file, rewrite_file
from tests.certificates import Authority
from tests.deployers.killed import spare_the_disk
from tests.deployers.reloads import RELOADS
from tests.fakes.stores import MemoryJournal
from tests.security.elsewhere import OWNER, SECRET, owned_folder
from tests.tiers import Tiers

pytestmark = pytest.mark.slow

LONGEST_SECONDS = 120.0  # for the tries at one place: a busy machine makes fewer
FEWEST_TRIES = 50

Attempt = Callable[[int], object]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """See `spare_the_disk`."""
    monkeypatch.setattr("os.fsync", spare_the_disk)


@pytest.fixture
def tries(tiers: Tiers) -> int:
    """How many this tier makes."""
    return int(tiers.amount("tests/security/test_exchanged_folders.py"))


@contextmanager
def exchanging(victims: list[Path], targets: list[Path]) -> Iterator[None]:
    """Another user puts links to the targets in the victims' places, and back, all the time."""
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(OWNER)
        os.setuid(OWNER)
        for number in itertools.count():
            for victim in victims:
                _exchange(victim, targets[number % len(targets)], number)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _exchange(victim: Path, target: Path, number: int) -> None:
    aside = victim.with_name(f"aside{number}")
    with suppress(OSError):
        victim.rename(aside)
    with suppress(OSError):
        victim.symlink_to(target)
    with suppress(OSError):
        victim.unlink()
    with suppress(OSError):
        aside.rename(victim)


def _try(times: int, attempt: Attempt) -> tuple[int, int]:
    """(tries that came through, tries that were refused), so many together, or as many as there is time for."""
    until = time.monotonic() + LONGEST_SECONDS
    done = refused = 0
    while done + refused < times and time.monotonic() < until:
        try:
            attempt(done + refused)
            done += 1
        except (OSError, NotPresentedError, LockedError):
            refused += 1
    return done, refused


def _assert_no_secret_in(folder: Path) -> None:
    """No copy of what lies outside either, whoever could read it."""
    copies = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in copies if path.read_bytes() == SECRET] == []


def _deployment(folder: Path) -> Attempt:
    generation = Authority().issue("web.internal").generation(1)
    target = make_target("web", CommandTarget(certificate=folder / "web.crt", key=folder / "web.key"), RELOADS)

    def attempt(number: int) -> None:
        one = msgspec.structs.replace(generation, number=number + 1)
        target.stage(one)
        target.promote(one)
        target.settle(one)
        target.live()
        target.roll_back()

    return attempt


def _traefik(folder: Path) -> Attempt:
    (folder / "dynamic").mkdir(exist_ok=True)
    os.chown(folder / "dynamic", OWNER, OWNER)
    generation = Authority().issue("web.internal").generation(1)
    target = make_target("web", TraefikTarget(dynamic=folder / "dynamic"), RELOADS)

    def attempt(number: int) -> None:
        one = msgspec.structs.replace(generation, number=number + 1)
        target.stage(one)
        target.promote(one)
        target.settle(one)
        target.live()

    return attempt


def _webroot(folder: Path) -> Attempt:
    (folder / ".well-known").mkdir(exist_ok=True)
    os.chown(folder / ".well-known", OWNER, OWNER)
    webroot = Webroot(folder, MemoryJournal())
    challenge = Challenge(type="http-01", url="https://ca/challenge", status=Status.PENDING, token="token")

    async def answer() -> None:
        try:
            await webroot.present("web.internal", challenge, "token.thumbprint")
        finally:
            await webroot.clean_up("web.internal", challenge)

    return lambda _: asyncio.run(answer())


def _edit(folder: Path) -> Attempt:
    """As `fix` does it, in a folder of its own."""
    (folder / "etc").mkdir()
    os.chown(folder / "etc", OWNER, OWNER)
    (folder / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    return lambda number: rewrite_file(folder / "etc" / "hosts", f"{number}\n".encode())


def _lock(folder: Path) -> Attempt:
    def attempt(number: int) -> None:
        with lock_file(folder / ".certagent-web.crt.lock", f"try {number}"):
            pass

    return attempt


@pytest.mark.parametrize(
    ("place", "victims"),
    [
        (_deployment, [".certagent-web"]),
        (_deployment, ["web.key", "web.crt", ".web.key.new"]),
        (_traefik, ["certagent", "dynamic"]),
        (_webroot, [".well-known"]),
        (_webroot, [".well-known/acme-challenge", ".well-known/acme-challenge/token"]),
        (_edit, ["etc", "etc/hosts", "etc/.hosts.new"]),
        (_lock, [".certagent-web.crt.lock"]),
    ],
)
def test_nothing_outside_is_touched(
    place: Callable[[Path], Attempt], victims: list[str], tries: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is exchanged, for a link to a file or to a folder."""
    with owned_folder() as (folder, elsewhere):
        attempt = place(folder)
        targets = [elsewhere.secret, elsewhere.folder, elsewhere.folder / ".well-known"]
        with exchanging([folder / name for name in victims], targets):
            done, refused = _try(tries, attempt)
        elsewhere.assert_untouched()
        _assert_no_secret_in(folder)
    with capsys.disabled():
        print(f"\n{place.__name__[1:]}, {', '.join(victims)}: {done} came through, {refused} were refused")
    assert done + refused >= min(tries, FEWEST_TRIES)
