"""When a look at what is served is told, and when it is not. The state folder is a real one."""

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from certagent.agent.drift import DriftMonitor
from certagent.agent.reporter import Reporter
from certagent.config import CertificateSection, ListenerSolver, load_policy
from certagent.domain.deployments import EndpointProof, Generation, LivePair
from certagent.domain.diagnosis.drift import CertResolver, ConfiguredPair, LiveTarget
from certagent.domain.findings import Severity
from certagent.domain.reports import Outcome, Report, Trigger
from certagent.reporting import Spool
from certagent.state import Last, RunRecord, State
from tests.certificates import Authority
from tests.clock import FakeClock

NAME = "traefik.internal"
LATE = CertResolver(
    name="own", file="/etc/traefik/traefik.yml", line=29, directory="https://ca.internal/acme/directory"
)
CERTIFICATE = CertificateSection(
    name="traefik", identifiers=(NAME,), solver=ListenerSolver(listen="127.0.0.1:5002"), deploy=()
)


class _House:
    """A certificate that is proven, what is live of it, and what happens while it is looked at."""

    def __init__(self, root: Path) -> None:
        self.clock = FakeClock()
        self.folder = State(root / "state").certificate("traefik")
        self.spool = Spool(root / "spool")
        self.meanwhile: Callable[[], None] = lambda: None
        self.late: list[CertResolver] = []
        self._authority = Authority()
        self.live = self.renew()
        self.end()
        self.runs = DriftMonitor(
            [CERTIFICATE],
            live=lambda _: [LiveTarget(target="traefik", pair=self._pair())],
            configured=self,
            prover=self,  # type: ignore[arg-type] # the one coroutine that is used where nothing else is served
            state=State(root / "state"),
            reporter=Reporter("lxc102", self.spool, self.clock),
            policy=load_policy(None),
            clock=self.clock,
        )

    def renew(self) -> Generation:
        """A new pair, issued and promoted; not proven yet."""
        run = RunRecord(
            id="1", certificate="traefik", trigger=Trigger.TIMER, step="deploy", started_at=self.clock.now()
        )
        self.folder.save_run(run)
        pair = self._authority.issue(NAME, not_before=self.clock.now())
        return self.folder.add_generation(pair.key_pem, pair.chain_pem)

    def end(self) -> None:
        """It is proven, and the run over."""
        self.clock.move(timedelta(seconds=1))
        self.folder.set_proven(self.live.number)
        self.folder.end_run(Last(outcome=Outcome.DONE, at=self.clock.now()))

    async def served_now(self, wanted: str, endpoints: Sequence[str], names: Sequence[str]) -> Sequence[EndpointProof]:
        """As the prover's: something happens, and nobody is asked."""
        self.meanwhile()
        return ()

    def pairs(self) -> Sequence[ConfiguredPair]:
        """As of a node whose web servers serve nothing else."""
        return ()

    def resolvers(self) -> Sequence[CertResolver]:
        """Traefik's own, as configured just now."""
        return self.late

    async def told_around(self, trigger: Trigger) -> list[list[str]]:
        """The codes of each report about what else is configured here."""
        await self.runs.look_around(trigger)
        return [[finding.code for finding in report.findings] for report in self.spool.take(100)]

    async def told(self) -> list[str]:
        """The codes of the report that a look came to."""
        serving = await self.runs.look(CERTIFICATE)
        await self.runs.report([serving], Trigger.FILE)
        return [finding.code for report in self.spool.take(100) for finding in report.findings]

    def _pair(self) -> LivePair:
        return LivePair(file="/etc/traefik/dynamic/certagent-traefik.yml", key_file="", facts=self.live.facts)


@pytest.fixture
def house(tmp_path: Path) -> _House:
    """All is well."""
    return _House(tmp_path)


async def test_what_somebody_else_put_there_is_told(house: _House) -> None:
    """Nobody renews, and another pair is live than the proven one."""
    house.live = house.renew()
    house.folder.end_run(Last(outcome=Outcome.FAILED, at=house.clock.now()))
    assert await house.told() == ["deploy.drift"]


async def test_at_a_start_those_that_are_well_are_one_report(house: _House) -> None:
    """Which clears what the last start still had against them; one that is not well has its own."""
    house.folder.end_run(Last(outcome=Outcome.DONE, at=house.clock.now()))
    look = await house.runs.look(CERTIFICATE)
    others = [msgspec.structs.replace(look, name=name, after=None) for name in ("a", "b", "c")]
    house.live = house.renew()
    house.folder.end_run(Last(outcome=Outcome.FAILED, at=house.clock.now()))
    await house.runs.report([others[0], await house.runs.look(CERTIFICATE), *others[1:]], Trigger.START)
    drifted, well = house.spool.take(100)
    assert (drifted.certificate, drifted.outcome) == (CERTIFICATE.name, Outcome.FOUND)
    assert (well.scopes, well.certificate, well.outcome) == (("served:a", "served:b", "served:c"), None, Outcome.DONE)


async def test_a_look_that_a_renewal_ended_in_is_not_told(house: _House) -> None:
    """The new pair was live and the old one proven when it began; the next look is told, and finds nothing."""
    house.live = house.renew()
    house.meanwhile = house.end
    assert await house.told() == []
    house.meanwhile = lambda: None
    assert await house.told() == []


async def test_a_look_while_a_renewal_is_at_work_is_not_told(house: _House) -> None:
    """It will look by itself."""
    house.live = house.renew()
    assert await house.told() == []


async def test_what_is_wrong_now_is_found_again_and_again(house: _House) -> None:
    """Graded, for whoever asks, although it was told; nothing while a renewal is at work."""
    house.live = house.renew()
    assert house.runs.findings([await house.runs.look(CERTIFICATE)]) == []
    house.folder.end_run(Last(outcome=Outcome.FAILED, at=house.clock.now()))
    await house.told()
    for _ in range(2):
        (finding,) = house.runs.findings([await house.runs.look(CERTIFICATE)])
        assert (finding.code, finding.severity) == ("deploy.drift", Severity.ERROR)


async def test_what_is_told_of_a_web_server_is_looked_at_until_it_is_mended(house: _House) -> None:
    """By the next timer, although a node whose web servers are good is looked at seldom."""
    house.late = [LATE]
    assert await house.told_around(Trigger.START) == [["traefik.renews_too_late"]]
    house.late = []
    assert (await house.told_around(Trigger.TIMER))[-1] == []
    reports = len(house.spool.take(100))
    house.late = [LATE]
    assert len(await house.told_around(Trigger.TIMER)) == reports


async def test_what_is_configured_no_longer_is_cleared_once_and_by_the_loop(
    house: _House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports are numbered one at a time: another thread's would meet those that are written meanwhile."""
    State(tmp_path / "state").write_record("reported-certificates", ("gone", "traefik", "went"))
    threads = []
    append = house.spool.append

    def noting(report: Report) -> Report:
        threads.append(threading.current_thread())
        return append(report)

    monkeypatch.setattr(house.spool, "append", noting)
    await house.runs.look_around(Trigger.START)
    await house.runs.look_around(Trigger.START)
    cleared = [report.scopes for report in house.spool.take(100) if "served:" not in report.scopes]
    assert cleared == [("served:gone", "certificate:gone", "served:went", "certificate:went")]
    assert set(threads) == {threading.current_thread()}
