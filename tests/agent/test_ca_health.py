"""The CA beside the agent, looked at when a person checks: whether it can be used, and what its journal says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from certagent.agent.ca_health import CaHealth, CaWatch
from certagent.agent.context import AgentContext
from certagent.agent.control_socket import AgentApi
from certagent.agent.reporter import Reporter
from certagent.commands.check import exit_status, render
from certagent.domain.diagnosis.certificate_authority import directory_cannot_be_used
from certagent.domain.findings import Culprit, Finding, Verdict
from certagent.domain.policy import Judgement
from certagent.domain.rehearsals import LastWords, Provisioner
from certagent.domain.reports import Outcome, RunKind
from certagent.reporting import Spool
from certagent.vantage.node_vantage import NodeVantage
from tests.agent.context import make_context
from tests.certificates import Authority
from tests.evidence import CA, GOOD, directory, judge, make_evidence, make_rehearsal
from tests.fakes.clock import FakeClock
from tests.fakes.tls_servers import context_of
from tests.ports import free_port

MISSING = LastWords(unit="step-ca.service", missing="journalctl cannot be run: No such file or directory")
_DIRECTORY = b'HTTP/1.0 200 OK\r\n\r\n{"newNonce": "", "newAccount": "", "newOrder": ""}'
QUOTED = LastWords(unit="step-ca.service", said="error opening database of Type badgerv2 password=hunter22 here")


@asynccontextmanager
async def _listening(authority: Authority, name: str, answer: bytes = b"") -> AsyncIterator[int]:
    """The port of a TLS server on loopback with a certificate for that name, which gives every request that answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", ssl=context_of(authority.issue(name))) as server:
        yield server.sockets[0].getsockname()[1]


class _Journal:
    def __init__(self, words: LastWords, configured: Provisioner | None = None) -> None:
        self.words = words
        self.configured = configured
        self.asked = 0

    async def last_words(self) -> LastWords:
        self.asked += 1
        return self.words

    async def provisioner(self) -> Provisioner | None:
        return self.configured


class _Here(NodeVantage):
    """A node whose only address is one of this machine's loopback."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        super().__init__()
        self._address = address

    def addresses(self) -> tuple[str, ...]:
        return (self._address,)


class _Lifecycle:
    def __init__(self, *judgements: Judgement) -> None:
        self._judgements = judgements

    async def check(self, identifiers: tuple[str, ...]) -> list[Judgement]:
        return list(self._judgements)


def _context(folder: Path, port: int, host: str = "127.0.0.1") -> AgentContext:
    """An agent beside a CA at that port of this machine."""
    Authority().write_root(folder / "root.crt")
    context = make_context(folder, node="lxc103", is_authority=True)
    url = f"https://{host}:{port}/acme/acme/directory"
    authority = msgspec.structs.replace(context.settings.authority, directory=url)
    return msgspec.structs.replace(context, settings=msgspec.structs.replace(context.settings, authority=authority))


async def _check(folder: Path, journal: _Journal, *judgements: Judgement) -> Any:
    context = _context(folder, free_port())
    unused: Any = None
    health = CaHealth(context, NodeVantage(), journal)
    api = AgentApi(context, cast("Any", _Lifecycle(*judgements)), unused, unused, None, health)
    return msgspec.json.decode(msgspec.json.encode(await api.check(())))


async def test_a_check_beside_a_dead_ca_is_blocked_and_quotes_its_journal(tmp_path: Path) -> None:
    """Without any identifier of its own; without secrets."""
    document = await _check(tmp_path, _Journal(QUOTED))
    finding, alone = document["findings"]
    assert (alone["code"], alone["variant"]) == ("agent.alone", "beside_ca")
    assert (document["verdict"], exit_status(document), document["identifiers"]) == ("block", 4, [])
    assert (finding["code"], finding["severity"], finding["identifier"]) == ("ca.unreachable", "fatal", None)
    culprit = finding["culprit"]
    assert (culprit["node"], culprit["address"], culprit["role"]) == ("lxc103", "127.0.0.1", "authority")
    words = "The CA's journal ends with: error opening database of Type badgerv2 password=(withheld) here"
    assert finding["explanation"].endswith(words)
    assert words in render(document)
    assert "hunter22" not in msgspec.json.encode(document).decode()


async def test_where_there_is_no_journal_the_finding_says_so(tmp_path: Path) -> None:
    """The CA is down all the same."""
    document = await _check(tmp_path, _Journal(MISSING))
    assert document["findings"][0]["explanation"].endswith(f"has no error to quote: {MISSING.missing}.")
    assert document["verdict"] == "block"


async def test_what_an_identifier_of_the_node_says_already_is_said_once(tmp_path: Path) -> None:
    """The CA's node may have certificates of its own."""
    judgement = judge(make_evidence(GOOD, directory=directory("refused"), last_words=QUOTED))
    assert judgement.verdict is Verdict.BLOCK
    document = await _check(tmp_path, _Journal(QUOTED), judgement)
    assert ([one["code"] for one in document["findings"]], document["verdict"]) == (["agent.alone"], "block")


@pytest.mark.parametrize("host", ["localhost", "ca.invalid"])
async def test_a_ca_that_answers_is_no_finding_and_its_journal_is_not_read(tmp_path: Path, host: str) -> None:
    """That is what nearly every check meets; also where the CA's own node cannot resolve its name."""
    authority, journal = Authority(), _Journal(QUOTED)
    async with _listening(authority, host, _DIRECTORY) as port:
        context = _context(tmp_path, port, host)
        authority.write_root(tmp_path / "root.crt")
        assert await CaHealth(context, _Here(), journal).findings() == []
    assert journal.asked == 0


@pytest.mark.parametrize("host", ["localhost", "ca.invalid"])
async def test_a_ca_that_listens_on_loopback_alone_is_reachable_to_nobody(tmp_path: Path, host: str) -> None:
    """Although its own node reaches it there."""
    authority, journal = Authority(), _Journal(QUOTED)
    async with _listening(authority, host, _DIRECTORY) as port:
        context = _context(tmp_path, port, host)
        authority.write_root(tmp_path / "root.crt")
        (finding,) = await CaHealth(context, _Here("127.0.0.2"), journal).findings()
    assert finding.code == "ca.unreachable"


async def test_a_ca_without_its_name_is_the_line_of_its_configuration(tmp_path: Path) -> None:
    """As the clients say it: one cause, one incident."""
    authority = Authority()
    configured = Provisioner(file="/etc/step-ca/ca.json", lines={"names": 6})
    async with _listening(authority, "x.invalid") as port:
        context = _context(tmp_path, port, "localhost")
        authority.write_root(tmp_path / "root.crt")
        (finding,) = await CaHealth(context, _Here(), _Journal(QUOTED, configured)).findings()
    assert finding.code == "ca.name_mismatch"
    assert finding.culprit == Culprit(
        node="lxc103", file="/etc/step-ca/ca.json", line=6, address="127.0.0.1", role="authority"
    )


class _Looks:
    """What each look finds, one after the other; the last one goes on."""

    def __init__(self, finding: Finding, *looks: bool) -> None:
        self._finding = finding
        self._looks = list(looks)

    async def findings(self) -> list[Finding]:
        is_well = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        return [] if is_well else [self._finding]


async def _watch(folder: Path, *looks: bool) -> tuple[list[tuple[Outcome, tuple[str, ...], list[str]]], list[float]]:
    """(what was reported, the pauses)."""
    (finding,) = directory_cannot_be_used(make_evidence(GOOD, directory=directory("refused")))
    spool, clock = Spool(folder / "spool"), FakeClock()
    context = make_context(folder, node="lxc103", is_authority=True, spool=spool, clock=clock)
    Authority().write_root(folder / "root.crt")
    with suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            health = _Looks(msgspec.structs.replace(finding, identifier=None), *looks)
            await CaWatch(context, cast("Any", health)).run()
    reports = spool.next_batch(100)
    assert {report.kind for report in reports} == {RunKind.PREFLIGHT}
    said = [(report.outcome, report.scopes, [one.code for one in report.findings]) for report in reports]
    return said, clock.slept[: len(looks)]


async def test_a_ca_that_goes_and_comes_back_is_reported_each_time_once(tmp_path: Path) -> None:
    """Looked at sooner while it is away; at the start whatever there is, for the agent may have been away as well."""
    found = (Outcome.FOUND, ("identifier:None",), ["ca.unreachable"])
    done = (Outcome.DONE, ("identifier:None",), list[str]())
    said, pauses = await _watch(tmp_path, True, True, False, False, True)
    assert said == [done, found, done]
    assert pauses == [10.0, 10.0, 5.0, 5.0, 10.0]


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nMIIB"])
async def test_a_node_that_cannot_read_the_root_says_nothing_of_the_ca(tmp_path: Path, content: bytes | None) -> None:
    """It goes on, and looks as soon as the file can be read again; a person who asks is told."""
    authority, clock, spool = Authority(), FakeClock(), Spool(tmp_path / "spool")
    async with _listening(authority, "localhost") as port:
        context = _context(tmp_path, port, "localhost")
        context = msgspec.structs.replace(context, reporter=Reporter("lxc103", spool, clock), clock=clock)
        (tmp_path / "root.crt").unlink()
        if content is not None:
            (tmp_path / "root.crt").write_bytes(content)
        health = CaHealth(context, _Here(), _Journal(QUOTED))
        assert [finding.code for finding in await health.findings()] == ["ca.untrusted"]
        with suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await CaWatch(context, health).run()
        assert spool.next_batch(100) == []
        assert clock.slept[:2] == [10.0, 10.0]


async def test_an_agent_that_is_no_longer_beside_the_ca_takes_back_what_it_said(tmp_path: Path) -> None:
    """And one that never was says nothing."""
    spool = Spool(tmp_path / "spool")
    context = make_context(tmp_path, spool=spool)
    await CaWatch(context, None).run()
    assert spool.next_batch(100) == []
    said, _ = await _watch(tmp_path, False)
    assert [outcome for outcome, _, _ in said] == [Outcome.FOUND]
    context = make_context(tmp_path, spool=Spool(tmp_path / "spool"))
    for _ in range(2):
        await CaWatch(context, None).run()
    reports = Spool(tmp_path / "spool").next_batch(100)
    assert [(report.outcome, report.scopes) for report in reports][1:] == [(Outcome.DONE, ("identifier:None",))]


@pytest.mark.parametrize("error", ["refused", "timeout", "unhealthy"])
def test_a_client_is_told_what_the_agent_beside_the_ca_read(error: str) -> None:
    """With the rehearsal that it could not have."""
    evidence = make_evidence(GOOD, directory=directory(error), last_words=QUOTED)
    (finding,) = directory_cannot_be_used(evidence)
    assert finding.facts["said"] == QUOTED.said
    assert finding.explanation.endswith(f"journal ends with: {QUOTED.said}")
    assert finding.culprit == Culprit(node="lxc103", address=CA, role="authority")
    evidence = make_evidence(GOOD, directory=directory(error))
    (finding,) = directory_cannot_be_used(evidence)
    assert "journal" not in finding.explanation
    assert make_rehearsal().last_words is None


@pytest.mark.parametrize(
    ("answer", "codes"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nROOT", []),
        (b"HTTP/1.0 404 Not Found\r\n\r\nno such page", ["ca.not_step_ca"]),
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", ["ca.not_step_ca"]),
        (b"HTTP/1.0 200 OK\r\n\r\n-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", ["ca.not_step_ca"]),
        (b"HTTP/1.0 503 Busy\r\n\r\n", []),
        (b"nonsense", []),
    ],
)
async def test_another_ca_is_said_once_and_is_no_trouble(tmp_path: Path, answer: bytes, codes: list[str]) -> None:
    """However many identifiers are checked; a CA that gives no answer of its own is not judged."""
    authority = Authority()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readline()
        said = answer.replace(b"ROOT", authority.root_pem)
        writer.write(said if b"/roots.pem" in asked else b"HTTP/1.0 404 Not Found\r\n\r\n")
        writer.close()

    entrance = context_of(authority.issue("localhost"))
    async with await asyncio.start_server(serve, "127.0.0.1", ssl=entrance) as listening:
        context = _context(tmp_path, listening.sockets[0].getsockname()[1], "localhost")
        authority.write_root(tmp_path / "root.crt")
        unused: Any = None
        judgements = [judge(make_evidence(GOOD)), judge(make_evidence(GOOD))]
        api = AgentApi(context, cast("Any", _Lifecycle(*judgements)), unused, unused)
        document = msgspec.json.decode(msgspec.json.encode(await api.check(())))
    assert [finding["code"] for finding in document["findings"]] == [*codes, "agent.alone"]
    assert {finding["severity"] for finding in document["findings"]} == {"info"}
    assert (document["verdict"], exit_status(document)) == ("proceed", 0)
    assert render(document).count("does not answer as Step-CA does") == len(codes)
