"""Files of ours that were lost at Traefik are put back, told and proven; what others wrote there is left as it is."""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from certagent.agent import live_files
from certagent.agent.deployment import DeploymentService
from certagent.agent.inventory import InventoryReporter
from certagent.agent.lifecycle import Lifecycle
from certagent.agent.live_files import LiveFiles
from certagent.agent.orders import OrderPlacer
from certagent.agent.renewal import RenewalRunner
from certagent.config import CertificateSection, TraefikTarget
from certagent.domain.deployments import EndpointProof
from certagent.domain.reports import FileChange, Outcome, RunKind, Trigger
from certagent.domain.spans import Duration
from certagent.proof import Prover
from certagent.reporting import Spool
from certagent.state import LastRun
from certagent.system.clock import SystemClock
from tests.agent.context import make_context
from tests.agent.test_lifecycle import _Locks
from tests.certificates import Authority
from tests.fakes.preflight import FakePreflight
from tests.fakes.tls_servers import TlsServer, tls_server

pytestmark = pytest.mark.slow

NAME = "traefik.internal"
PATIENCE = 30.0


class _Orders(OrderPlacer):
    """Nobody orders anything."""

    def __init__(self) -> None:
        pass


class _Lifecycle(Lifecycle):
    """Nobody else is at work."""

    def __init__(self, locks: _Locks) -> None:
        self.entered = 0
        self.has_started = True
        self.busy: set[str] = set()
        self._foreign = locks.foreign

    def is_busy(self, name: str) -> bool:
        return name in self.busy

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncIterator[None]:
        self.entered += 1
        if not self.has_started:
            self._foreign.discard(name)  # a start waits, and then owns it
        yield


class _Inventory(InventoryReporter):
    """Counts what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[Trigger, tuple[str, ...]]] = []
        self.wrong: frozenset[str] = frozenset()
        self.was_asked = asyncio.Event()
        self.known: set[bytes] = set()

    def troubles(self) -> frozenset[str]:
        return self.wrong

    def is_known(self, name: str, chain_pem: bytes) -> bool:
        return chain_pem in self.known

    async def report(
        self, trigger: Trigger, names: Sequence[str] = (), served: tuple[EndpointProof, ...] | None = None
    ) -> None:
        self.asked.append((trigger, tuple(names)))
        self.was_asked.set()


class _House:
    """A certificate that Traefik's folder `current/dynamic` serves, in the first of two releases."""

    def __init__(self, root: Path, server: TlsServer, authority: Authority) -> None:
        self.root = root
        for release in ("1", "2"):
            (root / "releases" / release / "dynamic").mkdir(parents=True)
        (root / "current").symlink_to("releases/1")
        self.dynamic = root / "current" / "dynamic"
        self.yaml = self.dynamic / "certagent-traefik.yml"
        self.server, self.authority = server, authority
        authority.write_root(root / "root.crt")
        target = TraefikTarget(dynamic=self.dynamic, prove=(server.endpoint,))
        self.section = CertificateSection(name="traefik", identifiers=(NAME,), deploy=(target,))
        self.spool = Spool(root / "spool")
        context = make_context(root / "state", self.section, clock=SystemClock(), spool=self.spool)
        authority_section = msgspec.structs.replace(context.settings.authority, root=root / "root.crt")
        settings = msgspec.structs.replace(context.settings, authority=authority_section)
        proof = msgspec.structs.replace(
            context.policy.proof, traefik_for=Duration(seconds=1), look_every=Duration(seconds=0.2)
        )
        policy = msgspec.structs.replace(context.policy, proof=proof)
        context = msgspec.structs.replace(context, settings=settings, policy=policy)
        self.folder = context.state.certificate("traefik")
        self.deployment = DeploymentService(context, Prover(root / "root.crt", context.clock))
        self.locks = _Locks()
        self.inventory, self.lifecycle = _Inventory(), _Lifecycle(self.locks)
        renewal = RenewalRunner(context, _Orders(), self.deployment, FakePreflight())
        self.live = LiveFiles(
            context,
            lifecycle=self.lifecycle,
            inventory=self.inventory,
            renewal=renewal,
            deployment=self.deployment,
            locks=self.locks,
        )

    async def deploy(self) -> None:
        """The first one, as a renewal does it."""
        self.pair = pair = self.authority.issue(NAME)
        generation = self.folder.add_generation(pair.key_pem, pair.chain_pem)
        self.server.serve(pair)
        (deployment,) = await self.deployment.deploy(self.section, generation)
        assert deployment.is_good, deployment.faults
        self.folder.set_proven(generation.number)
        self.folder.end_run(LastRun(outcome=Outcome.DONE, at=generation.facts.not_before))

    def certificates(self) -> Path:
        """Where our pairs lie."""
        return self.root / "current" / "certagent" / "traefik"

    def is_whole(self) -> bool:
        """Whether the YAML names a pair that is there."""
        files = self.deployment.live_files(self.section)
        return len(files) == 2 and all(file.is_file() for file in files)

    def told(self) -> list[tuple[RunKind, Outcome, list[tuple[str, str | None]]]]:
        """What was reported."""
        return [
            (
                report.kind,
                report.outcome,
                [(one.code, one.culprit.file if one.culprit else None) for one in report.findings],
            )
            for report in self.spool.next_batch(100)
        ]


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[_House]:
    """All is well. Our TLS server is no Traefik, which would take its time to read again."""
    monkeypatch.setattr(live_files, "READ_AGAIN_SECONDS", 0.05)
    authority = Authority()
    async with tls_server(authority.issue(NAME)) as server:
        house = _House(tmp_path, server, authority)
        await house.deploy()
        yield house


def _remove_yaml(house: _House) -> None:
    house.yaml.unlink()


def _clean_all(house: _House) -> None:
    """`git clean`, or a role that makes the folder anew."""
    shutil.rmtree(house.root / "releases" / "1")
    (house.root / "releases" / "1" / "dynamic").mkdir(parents=True)


def _swing(house: _House) -> None:
    (house.root / "next").symlink_to("releases/2")
    (house.root / "next").rename(house.root / "current")


def _remove_pairs(house: _House) -> None:
    shutil.rmtree(house.root / "releases" / "1" / "certagent")


def _remove_key(house: _House) -> None:
    next(house.certificates().glob("1/privkey.pem")).unlink()


SEEN = [_remove_yaml, _clean_all, _swing, _remove_pairs]
LOSSES = [*SEEN, _remove_key]
"""No key is watched: that it is gone alone is seen by the timer."""


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__.strip("_"))
async def test_what_was_lost_is_put_back_told_and_proven(house: _House, lose: Callable[[_House], None]) -> None:
    """Without an order and without a person; once."""
    lose(house)
    named = house.yaml if not house.yaml.exists() else None
    await house.live.put_back(["traefik"], Trigger.FILE)
    assert house.is_whole()
    ((kind, outcome, findings),) = house.told()
    assert (kind, outcome, [code for code, _ in findings]) == (RunKind.RENEWAL, Outcome.FOUND, ["deploy.put_back"])
    assert named is None or findings[0][1] == str(named)
    assert house.folder.run() is None
    await house.live.put_back(["traefik"], Trigger.FILE)
    assert (len(house.told()), house.lifecycle.entered) == (1, 1)


async def test_what_was_lost_while_nobody_looked_is_put_back_at_the_start(house: _House) -> None:
    """Once the agent has begun, and owns the certificate."""
    house.yaml.unlink()
    house.lifecycle.has_started = False
    house.locks.foreign.add("traefik")
    running = asyncio.create_task(house.live.watch(), name="watch")
    async with asyncio.timeout(PATIENCE):
        while not house.is_whole():
            await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_folder_that_comes_back_later_gets_our_files_back(house: _House) -> None:
    """As soon as it is there again, by an event: while it was gone there was no place to put them."""
    running = asyncio.create_task(house.live.watch(), name="watch")
    await asyncio.sleep(0.2)
    gone = (house.root / "releases" / "1").rename(house.root / "away")
    async with asyncio.timeout(PATIENCE):
        await house.inventory.was_asked.wait()
    assert house.lifecycle.entered == 0
    for file in gone.glob("dynamic/certagent-*"):
        file.unlink()
    gone.rename(house.root / "releases" / "1")
    async with asyncio.timeout(PATIENCE):
        while not house.is_whole():
            await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_release_that_is_swung_back_to(house: _House) -> None:
    """It has our files of its time; what others have put in their place there is left, as anywhere."""
    old = house.root / "releases" / "1"
    shutil.rmtree(house.root / "releases" / "2")
    shutil.copytree(old, house.root / "releases" / "2", symlinks=True)
    _swing(house)
    await house.deploy()
    newest = house.deployment.read_live(house.section)[0].pair.fingerprint
    (house.root / "back").symlink_to("releases/1")
    (house.root / "back").rename(house.root / "current")
    assert house.deployment.read_live(house.section)[0].pair.fingerprint != newest
    await house.live.put_back(["traefik"], Trigger.FILE)
    assert house.deployment.read_live(house.section)[0].pair.fingerprint == newest
    ((_, outcome, findings),) = house.told()
    assert (outcome, findings) == (Outcome.FOUND, [("deploy.put_back", str(house.yaml))])
    other = house.authority.issue(NAME)
    named = house.deployment.live_files(house.section)[1].parent
    (named / "privkey.pem").write_bytes(other.key_pem)
    (named / "fullchain.pem").write_bytes(other.chain_pem)
    await house.live.put_back(["traefik"], Trigger.FILE)
    assert (named / "fullchain.pem").read_bytes() == other.chain_pem
    assert len(house.told()) == 1


async def test_what_is_put_back_stays_where_it_cannot_be_proven(house: _House) -> None:
    """Taking it away again would serve nobody. A failure is not tried again with every look of the timer."""
    house.server.serve(house.authority.issue("else.internal"))
    house.yaml.unlink()
    await house.live.put_back(["traefik"], Trigger.TIMER)
    assert house.is_whole()
    ((_, outcome, findings),) = house.told()
    assert (outcome, [code for code, _ in findings]) == (Outcome.FAILED, ["deploy.served_old", "deploy.put_back"])
    house.yaml.unlink()
    await house.live.put_back(["traefik"], Trigger.TIMER)
    assert (len(house.told()), house.yaml.exists()) == (1, False)
    await house.live.put_back(["traefik"], Trigger.FILE)
    assert house.is_whole()


async def test_a_failure_is_over_once_the_service_serves_again(house: _House) -> None:
    """Not at the next renewal: with the first look that finds another thing around the target."""
    house.server.serve(house.authority.issue("else.internal"))
    house.yaml.unlink()
    await house.live.put_back(["traefik"], Trigger.FILE)
    assert [outcome for _, outcome, _ in house.told()] == [Outcome.FAILED]
    looking = asyncio.create_task(house.live.run(), name="look")
    try:
        await asyncio.sleep(0.6)
        assert len(house.told()) == 1
        house.server.serve(house.pair)
        (house.dynamic / "other.yml").write_text("http: {}\n")
        async with asyncio.timeout(PATIENCE):
            while len(house.told()) == 1:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.6)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    assert [outcome for _, outcome, _ in house.told()] == [Outcome.FAILED, Outcome.DONE]


@pytest.mark.parametrize("is_wrong", [True, False])
async def test_what_has_gone_wrong_is_looked_at_again_soon(
    house: _House, monkeypatch: pytest.MonkeyPatch, is_wrong: bool
) -> None:
    """A restart is over in a moment; later the looks are as rare as ever."""
    monkeypatch.setattr(live_files, "_LOOK_AGAIN", Duration(seconds=0.01))
    house.inventory.wrong = frozenset({"traefik"} if is_wrong else ())
    looking = asyncio.create_task(house.live.run(), name="look")
    await asyncio.sleep(0.55)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    assert (len(house.inventory.asked) > 3) == is_wrong


async def test_a_release_that_is_swung_to_while_another_is_mended(house: _House) -> None:
    """The failure is told, and what is lost is put back where it belongs now: no event comes for that."""
    house.server.serve(house.authority.issue("else.internal"))
    house.yaml.unlink()
    mending = asyncio.create_task(house.live.put_back(["traefik"], Trigger.START))
    while not house.yaml.exists():
        await asyncio.sleep(0.02)
    _swing(house)
    assert not house.yaml.exists()
    await mending
    assert house.is_whole()
    assert {outcome for _, outcome, _ in house.told()} == {Outcome.FAILED}


def _write_other(house: _House) -> None:
    house.yaml.write_text("http: {}\n")


def _write_link(house: _House) -> None:
    house.yaml.unlink()
    house.yaml.symlink_to("nowhere.yml")


def _write_key(house: _House) -> None:
    next(house.certificates().glob("1/privkey.pem")).write_text("another one\n")


def _write_rival(house: _House) -> None:
    """Somebody has taken the name over."""
    house.yaml.unlink()
    pair = house.authority.issue(NAME)
    for file, content in (("mine.crt", pair.chain_pem), ("mine.key", pair.key_pem)):
        (house.root / file).write_bytes(content)
    (house.dynamic / "mine.yml").write_text(
        f"tls:\n  certificates:\n  - certFile: {house.root}/mine.crt\n    keyFile: {house.root}/mine.key\n"
    )


def _write_empty(house: _House) -> None:
    house.yaml.write_bytes(b"")


def _remove_folder(house: _House) -> None:
    """It may be on its way back."""
    shutil.rmtree(house.root / "releases" / "1")


def _give_up(house: _House) -> None:
    house.locks.foreign.add("traefik")
    house.yaml.unlink()


OTHERS = [_write_other, _write_link, _write_key, _write_rival, _write_empty, _remove_folder, _give_up]


@pytest.mark.parametrize("write", OTHERS, ids=lambda write: write.__name__.strip("_"))
async def test_what_others_wrote_there_is_not_overwritten(house: _House, write: Callable[[_House], None]) -> None:
    """Nor is a folder made that is gone, nor anything done for another agent. The drift is told as before."""
    write(house)
    before = {path: path.read_bytes() for path in house.root.rglob("*") if path.is_file() and "spool" not in str(path)}
    await house.live.put_back(["traefik"], Trigger.FILE)
    after = {path: path.read_bytes() for path in house.root.rglob("*") if path.is_file() and "spool" not in str(path)}
    assert after == before
    assert house.told() == []


async def test_what_others_write_while_it_is_put_back_is_not_overwritten(
    house: _House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role's file, or a file that was switched back to: before Traefik is given ours, it is looked at once more."""
    house.yaml.unlink()
    sleep = house.live._context.clock.sleep

    async def sleep_and_write(seconds: float) -> None:
        await sleep(seconds)
        house.yaml.write_text("# by a role\n")

    monkeypatch.setattr(house.live._context.clock, "sleep", sleep_and_write)
    await house.live.put_back(["traefik"], Trigger.FILE)
    assert house.yaml.read_text() == "# by a role\n"
    assert house.told() == []


async def test_a_certificate_that_was_never_proven_is_not_put_back(house: _House) -> None:
    """That is a renewal's to do."""
    pair = house.authority.issue(NAME)
    house.folder.add_generation(pair.key_pem, pair.chain_pem)
    house.yaml.unlink()
    await house.live.put_back(["traefik"], Trigger.FILE)
    assert (house.yaml.exists(), house.told()) == (False, [])


@pytest.mark.parametrize("lose", SEEN, ids=lambda lose: lose.__name__.strip("_"))
async def test_a_loss_is_seen_by_the_watch(house: _House, lose: Callable[[_House], None]) -> None:
    """And then looked at."""
    running = asyncio.create_task(house.live.watch(), name="watch")
    try:
        await asyncio.sleep(0.2)
        lose(house)
        async with asyncio.timeout(PATIENCE):
            while not house.inventory.asked or not house.is_whole():
                await house.inventory.was_asked.wait()
                house.inventory.was_asked.clear()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert house.inventory.asked[0] == (Trigger.FILE, ("traefik",))
    assert [outcome for _, outcome, _ in house.told()] == [Outcome.FOUND]


async def test_what_a_renewal_has_just_put_there_is_known_as_its_own(house: _House) -> None:
    """While it is at work, for it has that observed in the end; and afterwards, until something else was seen. What
    somebody else puts there meanwhile is looked at, and so is a file that is gone."""
    house.live._watched()
    file = str(house.yaml)
    change = (FileChange(file=file, exists=True),)
    newest = house.folder.newest()
    assert newest is not None
    theirs = house.authority.issue(NAME).chain_pem
    assert house.live._concerned(change, {file: newest.chain_pem}) == {"traefik"}
    house.lifecycle.busy = {"traefik"}
    assert house.live._concerned(change, {file: newest.chain_pem}) == set()
    assert house.live._concerned(change, {file: theirs}) == {"traefik"}
    assert house.live._concerned(change, {file: None}) == {"traefik"}
    house.lifecycle.busy = set()
    house.inventory.known = {newest.chain_pem}
    assert house.live._concerned(change, {file: newest.chain_pem}) == set()
    assert house.live._concerned(change, {file: theirs}) == {"traefik"}


class _ManyInventory(_Inventory):
    """Ends the looks after so many; `wrong` is troubled until the fifth."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._left = looks

    async def report(
        self, trigger: Trigger, names: Sequence[str] = (), served: tuple[EndpointProof, ...] | None = None
    ) -> None:
        await super().report(trigger, names)
        if len(self.asked) == self._left:
            raise asyncio.CancelledError
        if len(self.asked) == 5:
            self.wrong = frozenset()


@pytest.mark.parametrize(("count", "wrong"), [(120, 0), (300, 0), (300, 2), (300, 200)])
async def test_of_many_certificates_each_is_looked_at_in_its_turn(tmp_path: Path, count: int, wrong: int) -> None:
    """At most 120 at once, so that a thousand cost a node no more than a hundred; who is troubled sooner."""
    sections = [CertificateSection(name=f"n{number}", identifiers=(NAME,), manage=False) for number in range(count)]
    context, looks = make_context(tmp_path, *sections), 20
    inventory, locks = _ManyInventory(looks), _Locks()
    inventory.wrong = frozenset(f"n{number}" for number in range(wrong))
    deployment = DeploymentService(context, Prover(tmp_path / "root.crt", context.clock))
    renewal = RenewalRunner(context, _Orders(), deployment, FakePreflight())
    live = LiveFiles(
        context,
        lifecycle=_Lifecycle(locks),
        inventory=inventory,
        renewal=renewal,
        deployment=deployment,
        locks=locks,
    )
    with pytest.raises(asyncio.CancelledError):
        await live.run()
    asked = [names for _, names in inventory.asked]
    assert max(map(len, asked)) <= 120
    assert all(asked)  # nobody would be everybody
    seen = Counter(name for names in asked for name in names)
    assert seen.keys() == {section.name for section in sections}
    well = [seen[section.name] for section in sections if section.name not in {f"n{n}" for n in range(wrong)}]
    assert max(well) - min(well) <= 1
    if wrong == 2:
        assert all({"n0", "n1"} <= set(names) for names in asked[:4])
