"""When an observation of what is served is reported, and when it is not. The state folder is a real one."""

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from certagent.agent.deployment import DeploymentService
from certagent.agent.drift import DriftMonitor
from certagent.config import CertificateSection, Endpoint, ListenerSolver
from certagent.domain.deployments import EndpointProof, Generation, LivePair
from certagent.domain.diagnosis.drift import CertResolver, ConfiguredPair, LiveTarget
from certagent.domain.findings import Severity
from certagent.domain.reports import Outcome, Report, Trigger
from certagent.proof import MANAGED, Prover, Trust
from certagent.reporting import Spool
from certagent.state import LastRun, RunRecord, State
from certagent.vantage.configured_certificates import ConfiguredCertificates
from certagent.vantage.foreign_files import Reading
from certagent.vantage.web_server_config import WebServerConfigs
from tests.agent.context import make_context
from tests.certificates import Authority
from tests.fakes.clock import FakeClock

NAME = "traefik.internal"
LATE = CertResolver(
    name="own", file="/etc/traefik/traefik.yml", line=29, directory="https://ca.internal/acme/directory"
)
CERTIFICATE = CertificateSection(
    name="traefik", identifiers=(NAME,), solver=ListenerSolver(listen="127.0.0.1:5002"), deploy=()
)


class _Deployment(DeploymentService):
    """Has one target."""

    def __init__(self, house: "_House") -> None:
        self._house = house

    def read_live(self, certificate: CertificateSection) -> list[LiveTarget]:
        """What the house has live."""
        facts = self._house.live.facts
        pair = LivePair(file="/etc/traefik/dynamic/certagent-traefik.yml", key_file="", facts=facts)
        return [LiveTarget(target="traefik", pair=pair)]


class _Prover(Prover):
    """Asks nobody: something happens meanwhile."""

    def __init__(self, house: "_House") -> None:
        self._house = house

    async def served_now(
        self,
        fingerprint: str,
        endpoints: Sequence[Endpoint],
        identifiers: Sequence[str],
        *,
        key: str | None = None,
        trust: Trust = MANAGED,
    ) -> tuple[EndpointProof, ...]:
        """Nothing is served."""
        self._house.meanwhile()
        return ()


class _Configured(ConfiguredCertificates):
    """Web servers that serve nothing else; `late` are Traefik's own resolvers, as configured just now."""

    def __init__(self) -> None:
        self.late: list[CertResolver] = []

    def pairs(self) -> Reading[list[ConfiguredPair]]:
        """None."""
        return Reading([])

    def resolvers(self) -> Reading[list[CertResolver]]:
        """Those that are late."""
        return Reading(self.late)


class _House:
    """A certificate that is proven, what is live of it, and what happens while it is observed."""

    def __init__(self, root: Path) -> None:
        self.clock = FakeClock()
        self.folder = State(root / "state").certificate("traefik")
        self.spool = Spool(root / "spool")
        self.meanwhile: Callable[[], None] = lambda: None
        self.configured = _Configured()
        self._authority = Authority()
        self.live = self.renew()
        self.end()
        context = make_context(root / "state", CERTIFICATE, clock=self.clock, spool=self.spool)
        self.nginx = root / "nginx.conf"
        web_servers = WebServerConfigs(self.nginx, ())
        self.monitor = DriftMonitor(context, _Deployment(self), _Prover(self), self.configured, [web_servers])

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
        self.folder.end_run(LastRun(outcome=Outcome.DONE, at=self.clock.now()))

    async def reported_of_web_servers(self, trigger: Trigger) -> list[list[str]]:
        """The codes of each report about what else is configured here."""
        await self.monitor.inspect_web_servers(trigger)
        return [[finding.code for finding in report.findings] for report in self.spool.next_batch(100)]

    async def reported(self) -> list[str]:
        """The codes of the report that an observation came to."""
        serving = await self.monitor.observe(CERTIFICATE)
        await self.monitor.report([serving], Trigger.FILE)
        return [finding.code for report in self.spool.next_batch(100) for finding in report.findings]


@pytest.fixture
def house(tmp_path: Path) -> _House:
    """All is well."""
    return _House(tmp_path)


async def test_what_somebody_else_put_there_is_reported(house: _House) -> None:
    """Nobody renews, and another pair is live than the proven one."""
    house.live = house.renew()
    house.folder.end_run(LastRun(outcome=Outcome.FAILED, at=house.clock.now()))
    assert await house.reported() == ["deploy.drift"]


async def test_at_a_start_those_that_are_well_are_one_report(house: _House) -> None:
    """Which clears what the last start still had against them; one that is not well has its own."""
    house.folder.end_run(LastRun(outcome=Outcome.DONE, at=house.clock.now()))
    look = await house.monitor.observe(CERTIFICATE)
    others = [msgspec.structs.replace(look, name=name, after=None) for name in ("a", "b", "c")]
    house.live = house.renew()
    house.folder.end_run(LastRun(outcome=Outcome.FAILED, at=house.clock.now()))
    await house.monitor.report([others[0], await house.monitor.observe(CERTIFICATE), *others[1:]], Trigger.START)
    drifted, well = house.spool.next_batch(100)
    assert (drifted.certificate, drifted.outcome) == (CERTIFICATE.name, Outcome.FOUND)
    assert (well.scopes, well.certificate, well.outcome) == (("served:a", "served:b", "served:c"), None, Outcome.DONE)


async def test_what_the_last_start_said_is_over_though_this_one_met_a_renewal(house: _House) -> None:
    """The report of a start leaves out what a renewal is at work on: the next one says that all is well."""
    new = house.renew()
    await house.monitor.report([await house.monitor.observe(CERTIFICATE)], Trigger.START)
    assert house.spool.next_batch(100) == []
    house.live = new
    house.end()
    for _ in range(2):
        await house.monitor.report([await house.monitor.observe(CERTIFICATE)], Trigger.TIMER)
        (said,) = house.spool.next_batch(100)
        assert (said.scopes, said.findings, said.outcome) == (("served:traefik",), (), Outcome.DONE)


async def test_an_observation_that_a_renewal_ended_in_is_not_reported(house: _House) -> None:
    """The new pair was live and the old one proven when it began; the next look is told, and finds nothing."""
    house.live = house.renew()
    house.meanwhile = house.end
    assert await house.reported() == []
    house.meanwhile = lambda: None
    assert await house.reported() == []


async def test_an_observation_while_a_renewal_is_at_work_is_not_reported(house: _House) -> None:
    """It will look by itself."""
    house.live = house.renew()
    assert await house.reported() == []


async def test_what_is_wrong_now_is_found_again_and_again(house: _House) -> None:
    """Graded, for whoever asks, although it was told; nothing while a renewal is at work."""
    house.live = house.renew()
    assert house.monitor.findings([await house.monitor.observe(CERTIFICATE)]) == []
    house.folder.end_run(LastRun(outcome=Outcome.FAILED, at=house.clock.now()))
    await house.reported()
    for _ in range(2):
        (finding,) = house.monitor.findings([await house.monitor.observe(CERTIFICATE)])
        assert (finding.code, finding.severity) == ("deploy.drift", Severity.ERROR)


async def test_what_is_reported_of_a_web_server_is_inspected_until_it_is_fixed(house: _House) -> None:
    """By the next timer, although a node whose web servers are good is looked at seldom."""
    house.configured.late = [LATE]
    assert await house.reported_of_web_servers(Trigger.START) == [["traefik.renews_too_late"]]
    house.configured.late = []
    assert (await house.reported_of_web_servers(Trigger.TIMER))[-1] == []
    reports = len(house.spool.next_batch(100))
    house.configured.late = [LATE]
    assert len(await house.reported_of_web_servers(Trigger.TIMER)) == reports


async def test_a_file_that_cannot_be_read_is_reported_once_and_over_when_it_reads_again(house: _House) -> None:
    """However often it is saved broken meanwhile, and however seldom web servers are looked at."""
    house.nginx.write_text("events {}\nhttp { server { listen 80; return 404; } }\n")
    assert await house.reported_of_web_servers(Trigger.START) == [[]]
    for _ in range(2):
        for broken in ("events {}\nhttp {\n server {\n", "http {\n", "\n\nhttp { server {"):
            house.nginx.write_text(broken)
            await house.reported_of_web_servers(Trigger.TIMER)
        house.nginx.write_text("events {}\n")
        reported = await house.reported_of_web_servers(Trigger.TIMER)
    assert reported == [[], ["config.unreadable"], [], ["config.unreadable"], []]
    assert house.monitor.findings([]) == []
    house.nginx.write_text("events {}\nhttp {\n")
    (finding,) = house.monitor.findings([])
    assert finding.culprit is not None
    assert (finding.severity, finding.culprit.file, finding.culprit.line) == (Severity.WARN, str(house.nginx), 2)


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
    await house.monitor.inspect_web_servers(Trigger.START)
    await house.monitor.inspect_web_servers(Trigger.START)
    cleared = [report.scopes for report in house.spool.next_batch(100) if "served:" not in report.scopes]
    assert cleared == [("served:gone", "certificate:gone", "served:went", "certificate:went")]
    assert set(threads) == {threading.current_thread()}


async def test_what_a_proof_has_just_shown_is_not_looked_at_again(house: _House) -> None:
    """It is what is observed; and with nothing wrong, the chain is known from then on, until something is."""

    def look() -> None:
        pytest.fail("nobody has to look again")

    house.meanwhile = look
    serving = await house.monitor.observe(CERTIFICATE, ())
    assert serving.served == ()
    await house.monitor.report([serving], Trigger.TIMER)
    assert house.monitor.is_well_served("traefik", house.live.chain_pem)
    assert not house.monitor.is_well_served("traefik", b"nonsense")
    assert not house.monitor.is_well_served("another", house.live.chain_pem)
    well, house.live = house.live, house.renew()
    house.folder.end_run(LastRun(outcome=Outcome.FAILED, at=house.clock.now()))
    await house.monitor.report([await house.monitor.observe(CERTIFICATE, ())], Trigger.TIMER)
    assert not house.monitor.is_well_served("traefik", well.chain_pem)
