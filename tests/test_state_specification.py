"""The specification of the state, docs/state.md, against real folders: nothing else is there, nothing is missing."""

import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certagent.agent.app import hold_instance_lock
from certagent.config import AgentSection, CommandTarget
from certagent.deployers.deploy import make_target
from certagent.domain.fixes import Fix, FixedFile
from certagent.domain.orders import Account, PendingOrder
from certagent.domain.reports import Outcome, Report, RunKind, Trigger
from certagent.reporting import Spool
from certagent.state import LastRun, RunRecord, State
from tests.certificates import Authority
from tests.deployers.reloads import RELOADS

PAGE = (Path(__file__).parents[1] / "docs" / "state.md").read_text(encoding="utf-8")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _specified(heading: str) -> dict[str, str]:
    """Path with placeholders -> mode."""
    table = PAGE.partition(heading)[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", table, re.MULTILINE))


STATE = _specified("| path below the state folder |")
TARGET = _specified("| path there |")


def _pattern(path: str) -> str:
    return re.sub(r"<(\w+)>", lambda found: r"[0-9]+" if found[1] == "N" else r"[^/]+", path.replace(".", r"\."))


def _walk(root: Path) -> Iterator[Path]:
    """Everything but folders, links not followed."""
    for folder, names, files in os.walk(root):
        yield from (Path(folder, name) for name in (*files, *(one for one in names if Path(folder, one).is_symlink())))


def _assert_as_specified(root: Path, specified: dict[str, str], folder_mode: int) -> None:
    met = set()
    for path in _walk(root):
        shown = str(path.relative_to(root))
        lines = [line for line in specified if re.fullmatch(_pattern(line), shown)]
        assert lines, f"{shown} is not in the specification"
        met.add(lines[0])
        mode = specified[lines[0]].strip()
        if mode == "link":
            assert path.is_symlink(), shown
        elif mode.startswith("0"):
            assert stat.S_IMODE(path.lstat().st_mode) == int(mode, 8), shown
    for folder, _, _ in os.walk(root):
        assert stat.S_IMODE(Path(folder).stat().st_mode) == folder_mode, folder
    assert met == set(specified), "in the specification, but nowhere to be met"


def _report(number: int) -> Report:
    return Report(
        id=f"{number}",
        agent="lxc101",
        sequence=0,
        kind=RunKind.RENEWAL,
        trigger=Trigger.TIMER,
        started_at=NOW,
        finished_at=NOW,
        outcome=Outcome.DONE,
        certificate=f"{number}",
    )


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A state in which everything has happened that leaves something, by the parts that write there."""
    root = tmp_path / "state"
    with hold_instance_lock(AgentSection(name="lxc101", state=root, socket=tmp_path / "agent.sock")):
        state = State(root)
    state.account("https://ca/directory").save(Account(key_pem="PEM"))
    folder = state.certificate("web")
    with folder.lock("the agent lxc101"):
        for one in Authority().issue_generations(5, "web.internal"):
            folder.add_generation(one.key_pem, one.chain_pem)
            folder.set_proven(folder.numbers()[-1])
    folder.save_order(
        PendingOrder(
            url="https://ca/order/1",
            directory="https://ca/directory",
            identifiers=("web.internal",),
            key_type="ecdsa-p256",
            key_pem="PEM",
            placed_at=NOW,
        )
    )
    run = RunRecord(id="run", certificate="web", trigger=Trigger.TIMER, step="order", started_at=NOW)
    folder.save_run(run)
    folder.end_run(LastRun(outcome=Outcome.DONE, at=NOW))
    folder.save_run(run)
    state.write_record("seen-web", ["a"])
    state.write_record("broken", ["a"])
    assert state.read_record("broken", int) is None
    state.write_record("resolver-files", {"/etc/hosts": "127.0.0.1 localhost"})
    fix = Fix(id="20260102-030405", at=NOW, files=(FixedFile(file="/etc/hosts", before="a", after="b"),))
    state.fixes().keep(fix, {"/etc/hosts": b"127.0.0.1 localhost"})
    spool = Spool(root / "spool")
    for number in range(3):
        spool.append(_report(number))
    first, *_, last = spool.waiting()
    spool.refuse(first, "it is refused", "0.1.0")
    spool.remove(last)
    return root


def test_the_state_folder_is_as_specified(used: Path) -> None:
    """Every file is in the table, with its mode; every line of the table is met."""
    _assert_as_specified(used, STATE, 0o700)
    generations = sorted(path.name for path in (used / "certificates" / "web" / "generations").iterdir())
    assert generations == ["3", "4", "5"]
    assert b"PRIVATE" not in b"".join(path.read_bytes() for path in (used / "spool").rglob("*.json"))


def test_a_target_is_as_specified(tmp_path: Path) -> None:
    """With what was there before, what is live, what is gone back to, and what somebody wrote in place of ours."""
    before = Authority().issue("web.internal")
    certificate, key = tmp_path / "web.crt", tmp_path / "web.key"
    certificate.write_bytes(before.chain_pem)
    key.write_bytes(before.key_pem)
    target = make_target("web", CommandTarget(certificate=certificate, key=key), RELOADS)
    for generation in Authority().issue_generations(4, "web.internal"):
        target.stage(generation)
        target.promote(generation)
        target.settle(generation)
    for path in (certificate, key):
        path.unlink()
    certificate.write_text("half a pair\n")
    target.promote(generation)
    _assert_as_specified(tmp_path / ".certagent-web", TARGET, 0o755)
    assert sorted(path.name for path in (tmp_path / ".certagent-web").iterdir()) == [
        *("0", "3", "4", "before.web.crt", "current", "proven")
    ]
