"""`--start`: the unit is enabled and started, and what systemd refuses is said with its own words."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from certagent.cli import commands
from certagent.commands import init, service_start

FAILS = "#!/bin/sh\necho 'Failed to enable unit: Unit file certagent-agent.service does not exist.' >&2\nexit 1\n"


def _systemctl(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A systemctl that writes down its words; gives that file."""
    program = folder / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(script.replace("NOTES", str(folder / "notes")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return folder / "notes"


def test_the_unit_is_enabled_and_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one call; what is next then is a look at the result."""
    notes = _systemctl(tmp_path, monkeypatch, '#!/bin/sh\necho "$*" >>NOTES\n')
    document = {"next": ["start it"]}
    service_start.add_start(document, "agent")
    assert notes.read_text() == "enable --now certagent-agent.service\n"
    assert document["next"] == ["certagent check, then certagent status"]
    assert service_start.say_start(document) == ["# certagent-agent.service: started, now and at each boot"]
    assert init.exit_status(document) == 0


def test_a_unit_that_does_not_start_is_an_exit_status_of_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are written all the same, so the next step stays what it was."""
    _systemctl(tmp_path, monkeypatch, FAILS)
    document = {"next": ["start it"]}
    service_start.add_start(document, "agent")
    (line,) = service_start.say_start(document)
    assert "not started (Failed to enable unit: Unit file certagent-agent.service does not exist.)" in line
    assert (document["next"], init.exit_status(document)) == (["start it"], 1)


def test_without_systemd_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container of another kind, say."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert service_start.start_service("collector").said == "systemctl: No such file or directory"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["init", "--start"], "--start requires --write"),
        (["init", "--authority", "--import", "/etc"], "--import goes with neither --authority nor --collector"),
    ],
)
def test_what_does_not_go_together_is_refused(words: list[str], complaint: str) -> None:
    """And an option that means nothing there is refused by the options that there are."""
    done = CliRunner().invoke(commands, words)
    assert done.exit_code == 2
    assert complaint in done.output
