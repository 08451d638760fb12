"""What a rehearsal has shown stands until the path is looked at again, or the CA issues."""

from pathlib import Path

import msgspec

from certagent.agent.rehearsal_history import PathMemory
from certagent.agent.reporter import Reporter
from certagent.domain.findings import Finding, Vantage
from certagent.domain.policy import Judgement, judged
from certagent.domain.rehearsals import RehearsalOutcome
from certagent.domain.reports import Outcome, RunKind, Trigger, identifier_scope
from certagent.reporting import Spool
from certagent.system.clock import SystemClock
from tests.evidence import POLICY, TRAEFIK, make_finding, rehearse_traefik, shadow

FAILED, PASSED, UNAVAILABLE = RehearsalOutcome.FAILED, RehearsalOutcome.PASSED, RehearsalOutcome.UNAVAILABLE
UNSEEN = make_finding("ca.vantage_missing", identifier=TRAEFIK, vantage=Vantage.PEER)


def _judge(memory: PathMemory, outcome: RehearsalOutcome, *findings: Finding) -> Judgement:
    return memory.complete(judged(POLICY, TRAEFIK, list(findings), rehearse_traefik(outcome)))


def test_what_was_seen_stands_while_nobody_can_look() -> None:
    """However often; it decides nothing, and what this node itself sees is not meant."""
    memory, here = PathMemory(), make_finding("dns.flapping", identifier=TRAEFIK, vantage=Vantage.CLIENT)
    assert _judge(memory, FAILED, shadow(), here).standing == ()
    for _ in range(2):
        unseen = _judge(memory, UNAVAILABLE, UNSEEN)
        assert [finding.code for finding in unseen.standing] == ["dns.hosts_shadow.authority"]
        assert [finding.code for finding in unseen.findings] == ["ca.vantage_missing"]
    assert unseen.verdict == judged(POLICY, TRAEFIK, [UNSEEN], rehearse_traefik(UNAVAILABLE)).verdict


def test_it_ends_with_the_next_look_or_with_a_certificate() -> None:
    """Whatever that look shows."""
    memory = PathMemory()
    _judge(memory, FAILED, shadow())
    _judge(memory, PASSED)
    assert _judge(memory, UNAVAILABLE, UNSEEN).standing == ()
    _judge(memory, FAILED, shadow())
    assert memory.forget([TRAEFIK, "else.internal"]) == [TRAEFIK]
    assert _judge(memory, UNAVAILABLE, UNSEEN).standing == ()
    assert memory.forget([TRAEFIK]) == []


def test_a_look_at_the_way_of_another_client_ends_it() -> None:
    """Nothing can be planted there, so a way that is good again is as much as can be seen."""
    memory = PathMemory()
    _judge(memory, FAILED, make_finding("net.refused", identifier=TRAEFIK, vantage=Vantage.AUTHORITY))
    look = msgspec.structs.replace(rehearse_traefik(UNAVAILABLE), planted=False)
    assert look.resolution is not None
    assert memory.complete(judged(POLICY, TRAEFIK, [], look)).standing == ()
    unseen = msgspec.structs.replace(look, resolution=None)
    _judge(memory, FAILED, make_finding("net.refused", identifier=TRAEFIK, vantage=Vantage.AUTHORITY))
    assert memory.complete(judged(POLICY, TRAEFIK, [], unseen)).standing != ()


def test_it_is_reported(tmp_path: Path) -> None:
    """So the collector ends no incident because it was started anew itself."""
    memory, spool = PathMemory(), Spool(tmp_path / "spool")
    reporter = Reporter("lxc102", spool, SystemClock())
    for judgement in (_judge(memory, FAILED, shadow()), _judge(memory, UNAVAILABLE, UNSEEN)):
        run = reporter.begin(RunKind.PREFLIGHT, Trigger.TIMER)
        reporter.end(run, Outcome.FOUND, scopes=[identifier_scope(TRAEFIK)], judgements=[judgement])
    told = [{finding.code for finding in report.findings} for report in spool.next_batch(9)]
    assert told == [{"dns.hosts_shadow.authority"}, {"dns.hosts_shadow.authority", "ca.vantage_missing"}]
