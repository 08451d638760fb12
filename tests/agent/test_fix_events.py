"""What `certagent fix` did on the node: told once, by the next report, whoever is killed in between."""

from datetime import timedelta
from pathlib import Path

import msgspec

from certagent.agent.reporter import FixEvents, Reporter
from certagent.domain.fixes import Fix, FixedFile
from certagent.domain.reports import Outcome, Report, RunKind, Trigger
from certagent.reporting import Spool
from certagent.state import State
from tests.fakes.clock import FakeClock


def _fix(state: State, clock: FakeClock, identity: str) -> Fix:
    fixed = FixedFile(file="/etc/hosts", before="0" * 64, after="1" * 64)
    fix = Fix(id=identity, at=clock.now(), incident="i1", files=(fixed,), by="root")
    state.fixes().keep(fix, {"/etc/hosts": b"10.0.0.153 traefik.example\n"})
    return fix


def _report(reporter: Reporter) -> Report:
    return reporter.end(reporter.begin(RunKind.SERVING, Trigger.TIMER), Outcome.DONE)


def test_a_fix_and_its_undoing_are_each_in_one_report(tmp_path: Path) -> None:
    """With the files, the incident and who ran it; folded with no report that tells of none."""
    clock, state, spool = FakeClock(), State(tmp_path / "state"), Spool(tmp_path / "spool")
    reporter = Reporter("lxc103", spool, clock, FixEvents(state))
    assert _report(reporter).fixes == ()
    fix = _fix(state, clock, "f1")
    (applied,) = _report(reporter).fixes
    assert (applied.id, applied.files, applied.incident, applied.by) == ("f1", ("/etc/hosts",), "i1", "root")
    assert not applied.is_undone
    assert _report(reporter).fixes == ()
    state.fixes().save(msgspec.structs.replace(fix, undone_at=clock.now() + timedelta(hours=1), undone_by="ada"))
    (undone,) = _report(reporter).fixes
    assert (undone.id, undone.by, undone.is_undone) == ("f1", "ada", True)
    told = [report.fixes for report in spool.next_batch(9)]
    assert told == [(), (applied,), (undone,)] or told == [(), (applied,), (), (undone,)]


def test_what_was_done_while_no_agent_ran_is_told_by_the_next(tmp_path: Path) -> None:
    """And not told again by the one after."""
    clock, state = FakeClock(), State(tmp_path / "state")
    _fix(state, clock, "f1")
    _fix(state, clock, "f2")
    for expected in (["f1", "f2"], []):
        reporter = Reporter("lxc103", Spool(tmp_path / "spool"), clock, FixEvents(State(tmp_path / "state")))
        assert [event.id for event in _report(reporter).fixes] == expected
