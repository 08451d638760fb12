"""What the lab changes of the machine's limits: upwards only, and said."""

from pathlib import Path

import pytest

from deploy.lab import machine


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of the kernel's file."""
    path = tmp_path / "max_user_instances"
    monkeypatch.setattr(machine, "_INSTANCES", path)
    return path


def test_a_low_limit_is_raised_once_and_said(limit: Path) -> None:
    limit.write_text("128\n")
    assert machine.raise_limit() == "fs.inotify.max_user_instances is 512 until the next boot, and was 128"
    assert (limit.read_text(), machine.raise_limit()) == ("512", None)


def test_a_higher_limit_stays(limit: Path) -> None:
    limit.write_text("8192\n")
    assert (machine.raise_limit(), limit.read_text()) == (None, "8192\n")


def test_a_limit_that_cannot_be_seen_is_left(limit: Path) -> None:
    """In a container of its own the lab goes on without it."""
    assert (machine.raise_limit(), limit.exists()) == (None, False)
