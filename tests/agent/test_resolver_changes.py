"""The watch's runs: what an agent reports of its node's files by itself."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from certagent.agent.resolver_changes import FileInspector, ResolverChangeHandler, without_repeats
from certagent.domain.findings import Culprit, Finding, Severity, Vantage
from certagent.domain.observations import Unreadable
from certagent.domain.reports import Outcome, Report, Trigger
from certagent.domain.resolution.file_formats import ResolvConf
from certagent.domain.resolution.files import ResolverFiles
from certagent.reporting import Spool
from certagent.vantage.nameserver_config import NameserverObservation, NameserverObserver
from certagent.vantage.node_vantage import NodeVantage
from certagent.vantage.resolver_files import FileObservation, Snapshot
from tests.agent.context import make_context
from tests.fakes.processes import Running

SECTION = "# --- BEGIN PVE ---\n{}# --- END PVE ---\n"


class _NoNameserver(NameserverObserver):
    """A node that runs no DNS server."""

    def observe(self) -> NameserverObservation | None:
        """Nothing."""
        return None


async def _report(tmp_path: Path, hosts: str, resolv_conf: str) -> Report:
    """What one run over those files came to."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hosts").write_text(hosts)
    (tmp_path / "etc/resolv.conf").write_text(resolv_conf)
    return await _run(tmp_path, NodeVantage(zones=("internal.test",), root=tmp_path))


async def _run(tmp_path: Path, inspector: FileInspector, *, is_authority: bool = False) -> Report:
    spool = Spool(tmp_path / "spool")
    context = make_context(tmp_path / "state", spool=spool, zones=("internal.test",), is_authority=is_authority)
    await ResolverChangeHandler(context, inspector, _NoNameserver()).handle((), Trigger.START)
    (report,) = spool.next_batch(10)
    return report


async def test_a_healthy_node_has_nothing_to_report(tmp_path: Path) -> None:
    """Proxmox's own section, a private nameserver."""
    report = await _report(tmp_path, "127.0.0.1 localhost\n", SECTION.format("nameserver 127.0.0.1\n"))
    assert (report.outcome, report.findings) == (Outcome.DONE, ())


async def test_what_cannot_be_read_is_known_until_it_can(tmp_path: Path) -> None:
    """For `status` and the report of all that cannot be read."""
    (tmp_path / "etc/hosts").mkdir(parents=True)
    (tmp_path / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    context = make_context(tmp_path / "state", spool=Spool(tmp_path / "spool"))
    handler = ResolverChangeHandler(context, NodeVantage(root=tmp_path), _NoNameserver())
    await handler.handle((), Trigger.START)
    assert handler.unreadable() == (Unreadable(file="/etc/hosts", reason="it is a folder"),)
    (tmp_path / "etc/hosts").rmdir()
    await handler.handle((), Trigger.FILE)
    assert handler.unreadable() == ()


async def test_hand_edits_and_public_nameservers_are_warnings(tmp_path: Path) -> None:
    """Reported with the line; no incident comes of a warning, and the proof of harm is the rehearsal's."""
    hosts = SECTION.format("192.0.2.7 printer.lan\n")
    report = await _report(tmp_path, hosts, "nameserver 127.0.0.1\nnameserver 9.9.9.9\n")
    assert report.outcome is Outcome.FOUND
    found = {finding.code: finding for finding in report.findings}
    assert set(found) == {"dns.managed_file", "dns.resolver_public"}
    assert {finding.severity for finding in report.findings} == {Severity.WARN}
    lines = {code: (one.culprit.file, one.culprit.line) for code, one in found.items() if one.culprit is not None}
    assert lines == {"dns.managed_file": ("/etc/hosts", 2), "dns.resolver_public": ("/etc/resolv.conf", 2)}
    assert msgspec.json.encode(report)


async def test_a_resolv_conf_that_the_ca_may_not_read_is_not_said_to_be_absent(tmp_path: Path) -> None:
    """There is one, and it may be a good one: its mode is what to change."""
    files = ResolverFiles(resolv_conf=ResolvConf(exists=False), unreadable=("/etc/resolv.conf",))

    class OfTheCa:
        async def inspect_files(self, before: Snapshot | None = None) -> FileObservation:
            return FileObservation(snapshot=before or {}, files=files)

    report = await _run(tmp_path, OfTheCa(), is_authority=True)
    assert [finding.code for finding in report.findings] == ["dns.file_unreadable"]


class _Restarting:
    """The CA's process comes up between the third look and the fourth."""

    def __init__(self) -> None:
        self.runs = 0

    async def inspect_files(self, before: Snapshot | None = None) -> FileObservation:
        """Blind at first."""
        self.runs += 1
        if self.runs < 4:
            return FileObservation(reason="the CA's process does not run")
        return FileObservation(snapshot=before or {})


async def test_a_blind_run_is_reported_once_and_repeated_until_it_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was to be reported with it is reported then; afterwards nothing is repeated."""
    monkeypatch.setattr("certagent.agent.resolver_changes.FIRST_PAUSE", timedelta(milliseconds=1))
    spool, inspector = Spool(tmp_path / "spool"), _Restarting()
    context = make_context(tmp_path / "state", spool=spool, is_authority=True)
    handler = ResolverChangeHandler(context, inspector, _NoNameserver())
    repeating = asyncio.create_task(handler.repeat_until_settled(), name="repeat")
    await handler.handle((), Trigger.START, [_overriding("agent.changed_while_down", 3)])
    async with asyncio.timeout(10):
        while len(spool.waiting()) < 2:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    repeating.cancel()
    await asyncio.gather(repeating, return_exceptions=True)
    blind, seen = spool.next_batch(10)
    assert (blind.outcome, blind.trigger, blind.findings) == (Outcome.FAILED, Trigger.START, ())
    assert (seen.trigger, [finding.code for finding in seen.findings]) == (Trigger.TIMER, ["agent.changed_while_down"])
    assert inspector.runs == 4


def test_a_line_that_the_nameserver_serves_is_not_said_as_this_nodes_own_as_well() -> None:
    """The two differ until it has read it, and the watch may come in between. Beside the CA both are true."""
    of_everybody = _overriding("dns.hosts_shadow.nameserver", 8)
    own, other, beside = (
        _overriding("dns.hosts_shadow.client", 8),
        _overriding("dns.hosts_shadow.client", 9),
        _overriding("dns.hosts_shadow.authority", 8),
    )
    assert without_repeats([own, other], [of_everybody]) == [other, of_everybody]
    assert without_repeats([beside], [of_everybody]) == [beside, of_everybody]
    assert without_repeats([own], []) == [own]


def _overriding(code: str, line: int) -> Finding:
    return Finding(
        code=code,
        identifier="www.internal.test",
        vantage=Vantage.STATIC,
        reporter="lxc101",
        explanation="",
        culprit=Culprit(node="lxc101", file="/etc/hosts", line=line),
    )


LONG_AFTER = datetime.now(UTC) + timedelta(days=1)
"""When it was started, so that whatever its files say is in effect."""


async def test_what_counts_after_a_restart_is_looked_at_again_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart changes no file."""
    monkeypatch.setattr("certagent.agent.resolver_changes.FIRST_PAUSE", timedelta(milliseconds=10))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    (tmp_path / "etc/extra").write_text("10.0.0.153 app.internal.test\n")
    (tmp_path / "etc/dnsmasq.conf").write_text("addn-hosts=/etc/extra\naddress=/app.internal.test/10.0.0.12\n")
    spool, dnsmasq = Spool(tmp_path / "spool"), Running("dnsmasq")
    context = make_context(tmp_path / "state", spool=spool, zones=("internal.test",))
    nameserver = NameserverObserver(dnsmasq, tmp_path)
    handler = ResolverChangeHandler(context, NodeVantage(zones=("internal.test",), root=tmp_path), nameserver)
    async with asyncio.TaskGroup() as group:
        repeating = group.create_task(handler.repeat_until_settled(), name="repeat")
        await handler.handle((), Trigger.START)
        dnsmasq.started_at = LONG_AFTER
        while [finding.variant for finding in spool.next_batch(50)[-1].findings] != [""]:
            await asyncio.sleep(0.01)
        reports = len(spool.waiting())
        await asyncio.sleep(0.1)
        repeating.cancel()
    first, *_ = spool.next_batch(50)
    assert [(finding.code, finding.variant) for finding in first.findings] == [
        ("dns.hosts_shadow.nameserver", "waiting")
    ]
    assert "will answer 10.0.0.153" in first.findings[0].explanation
    assert len(spool.waiting()) == reports


async def test_what_was_found_in_a_file_that_went_is_withdrawn(tmp_path: Path) -> None:
    """With its setting, while the agent runs or between two runs of it; both are watched as soon as they are there."""
    for name, text in {
        "hosts": "127.0.0.1 localhost\n",
        "resolv.conf": "nameserver 127.0.0.1\n",
        "dnsmasq.conf": "conf-dir=/etc/dnsmasq.d\n",
        "dnsmasq.d/extra.conf": "addn-hosts=/etc/extra.hosts\naddress=/app.internal.test/10.0.0.12\n",
        "extra.hosts": "10.0.0.153 app.internal.test\n",
    }.items():
        (tmp_path / "etc" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "etc" / name).write_text(text)
    spool = Spool(tmp_path / "spool")
    context = make_context(tmp_path / "state", spool=spool, zones=("internal.test",))

    def make_handler() -> ResolverChangeHandler:
        nameserver = NameserverObserver(Running("dnsmasq", started_at=LONG_AFTER), tmp_path)
        return ResolverChangeHandler(context, NodeVantage(zones=("internal.test",), root=tmp_path), nameserver)

    handler = make_handler()
    await handler.handle((), Trigger.START)
    watched = handler.watched_paths()
    assert Path("/etc/extra.hosts") in watched.files
    assert watched.folders == (Path("/etc/dnsmasq.d"),)
    (tmp_path / "etc/extra.hosts").unlink()
    (tmp_path / "etc/dnsmasq.d/extra.conf").unlink()
    await handler.handle((), Trigger.FILE)
    restarted = make_handler()
    restarted.answer_for(["/etc/extra.hosts"])
    await restarted.handle((), Trigger.START)
    before, after, after_restart = spool.next_batch(10)
    culprits = [finding.culprit for finding in before.findings if finding.code == "dns.hosts_shadow.nameserver"]
    assert [(one.file, one.line) for one in culprits if one is not None] == [("/etc/extra.hosts", 1)]
    for report in (after, after_restart):
        assert "file:/etc/extra.hosts" in report.scopes
        assert report.findings == ()
    assert Path("/etc/extra.hosts") not in handler.watched_paths().files
