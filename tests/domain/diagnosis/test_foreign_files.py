"""What could not be read, as findings: one per file, at its first line."""

from certagent.domain.diagnosis.foreign_files import files_are_unreadable
from certagent.domain.observations import Unreadable


def test_a_file_is_one_finding_with_all_its_places() -> None:
    """At the first of them, whatever order they came in."""
    first, second = files_are_unreadable(
        "lxc102",
        [
            Unreadable(file="/etc/a.yml", line=9, reason="a router is not a table"),
            Unreadable(file="/etc/b.conf", reason="it is a folder"),
            Unreadable(file="/etc/a.yml", line=4, reason="a list stands where a name belongs"),
            Unreadable(file="/etc/a.yml", line=9, reason="a router is not a table"),
        ],
    )
    assert first.culprit is not None
    assert (first.code, first.culprit.file, first.culprit.line) == ("config.unreadable", "/etc/a.yml", 4)
    assert first.detail["lines"] == [{"line": 9, "text": "a router is not a table"}]
    assert first.explanation.startswith(
        "/etc/a.yml on lxc102 cannot be read, at line 4: a list stands where a name belongs;"
        " other places in it that cannot be read: 1. "
    )
    assert second.explanation.startswith("/etc/b.conf on lxc102 cannot be read: it is a folder. ")


def test_nothing_that_could_not_be_read_is_no_finding() -> None:
    """On a healthy node."""
    assert files_are_unreadable("lxc102", ()) == []
