"""What the CA's journal says last: which line of it is quoted, of which unit, and what is said where there is none."""

import json
from pathlib import Path

import pytest

from certagent.domain.rehearsals import LastWords
from certagent.system.clock import SystemClock
from certagent.vantage import ca_journal
from certagent.vantage.ca_journal import CaJournal, JournalLine, find_unit, quoted

PROGRAM = "step-ca"
BADGER = "error opening database of Type badgerv2 with source /var/lib/step-ca/db: Value log truncate required"
EXITED = "step-ca.service: Main process exited, code=exited, status=1/FAILURE"
FAILED = "step-ca.service: Failed with result 'exit-code'."
KILLED = "step-ca.service: Main process exited, code=killed, status=9/KILL"
STOPPED = "Stopped step-ca.service - the CA."


def _own(said: str, pid: int = 70) -> JournalLine:
    return JournalLine(said, pid)


def _systemd(*lines: str) -> tuple[JournalLine, ...]:
    return tuple(JournalLine(line, 1) for line in lines)


AGAIN = _systemd(
    "Scheduled restart job, restart counter is at 5.", STOPPED, "Start request repeated too quickly.", FAILED
)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), None),
        ((_own("Serving HTTPS on :9000 ..."), *_systemd("Deactivated successfully.", STOPPED)), STOPPED),
        ((_own("badger INFO: opened"), _own(BADGER), *_systemd(EXITED, FAILED)), BADGER),
        ((_own("Serving", 60), *_systemd(STOPPED, "Started"), _own(BADGER), *_systemd(EXITED, FAILED), *AGAIN), BADGER),
        ((_own("Serving HTTPS on :9000 ..."), *_systemd(KILLED, FAILED)), KILLED),
        ((_own(BADGER),), BADGER),
        ((_own(BADGER), *_systemd(EXITED, FAILED, "Started"), _own("badger INFO: opened", 71)), BADGER),
        ((_own(BADGER), *_systemd(EXITED, "Started"), _own("Serving HTTPS on :9000 ...", 71), _own("x", 71)), "x"),
        ((_own("x", 60), _own("panic: oh"), _own("goroutine 1:"), _own("main.go:1"), *_systemd(EXITED)), "panic: oh"),
        (_systemd("step-ca.service: Failed at step EXEC spawning /usr/bin/step-ca: No such file", FAILED),
         "step-ca.service: Failed at step EXEC spawning /usr/bin/step-ca: No such file"),
        (_systemd("Starting", "Condition check resulted in step-ca.service being skipped."),
         "Condition check resulted in step-ca.service being skipped."),
    ],
    ids=["empty", "stopped", "failed", "again and again", "killed", "cut off", "starting again", "back", "panic",
         "no program", "skipped"],
)  # fmt: skip
def test_the_line_that_says_most_is_quoted(lines: tuple[JournalLine, ...], said: str | None) -> None:
    """Its own last one, unless somebody ended it."""
    assert quoted(lines) == said


@pytest.mark.parametrize(
    "command",
    [
        "/usr/local/bin/step-ca /etc/step-ca/ca.json",
        "-/usr/bin/step-ca",
        "@/usr/bin/step-ca ca",
        "/usr/bin/env step-ca config.json",
        "/bin/sh -c 'exec step-ca /etc/ca.json'",
        '/bin/sh -c "/opt/step-ca"',
    ],
)
def test_the_unit_is_the_one_that_starts_the_program(tmp_path: Path, command: str) -> None:
    """Whatever it is called; what only mentions the program, or one with a longer name, is none."""
    folder = tmp_path / "etc/systemd/system"
    folder.mkdir(parents=True)
    assert find_unit(tmp_path, PROGRAM) == "step-ca.service"
    (folder / "a.service").write_text(
        "[Service]\nExecStart=/usr/bin/step-cat\n# ExecStart=/usr/bin/step-ca\nExecStop=step-ca\n"
    )
    (folder / "b.timer").write_text(f"ExecStart={command}\n")
    assert find_unit(tmp_path, PROGRAM) == "step-ca.service"
    (folder / "our-ca.service").write_text(f"[Service]\nExecStart={command}\n")
    assert find_unit(tmp_path, PROGRAM) == "our-ca.service"


def _journalctl(folder: Path, script: str) -> CaJournal:
    program = folder / "journalctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return CaJournal(PROGRAM, SystemClock(), folder, (str(program),))


def _entry(said: object, pid: int = 70) -> str:
    return json.dumps({"MESSAGE": said, "_PID": str(pid)})


async def test_a_line_is_told_without_secrets_and_bounded(tmp_path: Path) -> None:
    """Bytes, colours, several lines in one, something that is no entry."""
    lines = [
        "{", "[]", "null", _entry(None), _entry("\u001b[31mbad\u001b[0m password=hunter22 here\n"), "-- no entry"
    ]  # fmt: skip
    (tmp_path / "out").write_text("\n".join(lines) + "\n")
    assert await _journalctl(tmp_path, f"cat {tmp_path}/out").read() == LastWords(
        unit="step-ca.service", said="bad password=(withheld) here"
    )
    (tmp_path / "out").write_text(_entry(list(b"\xffone\ntwo " + b"x" * 999)) + "\n")
    told = (await _journalctl(tmp_path, f"cat {tmp_path}/out").read()).said or ""
    assert (told[:5], len(told)) == ("two x", 301)


@pytest.mark.parametrize(
    ("script", "missing"),
    [
        ("true", "the journal has no line from step-ca.service"),
        ("echo 'No journal files were found.'; exit 1", "journalctl says No journal files were found."),
        ("exit 3", "journalctl exited with status 3"),
        ("sleep 60", "journalctl did not finish within 0 s"),
    ],
)
async def test_where_there_is_no_journal_it_says_so(
    tmp_path: Path, script: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounded: it is killed when it takes too long."""
    monkeypatch.setattr(ca_journal, "READING_FOR", 0.4)
    assert await _journalctl(tmp_path, script).read() == LastWords(unit="step-ca.service", missing=missing)


async def test_a_node_without_journalctl_says_so(tmp_path: Path) -> None:
    """No systemd, no journal."""
    told = await CaJournal(PROGRAM, SystemClock(), tmp_path, ("/nowhere/journalctl",)).read()
    assert told.missing == "journalctl cannot be run: No such file or directory"
