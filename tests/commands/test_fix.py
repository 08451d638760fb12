"""`certagent fix` on real files: kept, written, verified, undone; refused where it is somebody else's."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from certagent.commands import UnableError
from certagent.commands.fix import Plan, _read_text, apply_plan, exit_status, fix, narrowed, render, undo
from certagent.config import DnsSection
from certagent.domain.fixes import Edit, Fix, FixRefusal, refuse
from certagent.state import FixFolder, State
from certagent.system.invoker import invoking_user
from tests.commands.resolver import BROKEN, HEALTHY, LINE, NAME, make_root, plan_for, settings_for


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A node's files, broken."""
    return make_root(tmp_path)


def _fixes(root: Path) -> FixFolder:
    return State(root / "state").fixes()


def _apply(root: Path) -> tuple[Fix, str]:
    plan = plan_for(root)
    return apply_plan(_fixes(root), plan, plan.after(), None, root)


def test_applied_and_undone_it_is_byte_for_byte_as_before(root: Path) -> None:
    """Owner, mode and extended attributes stay, both ways; the backup is root's alone."""
    hosts = root / "etc/hosts"
    hosts.chmod(0o640)
    os.chown(hosts, 12, 34)
    os.setxattr(hosts, "user.note", b"kept")
    made, backup = _apply(root)
    assert hosts.read_text() == HEALTHY
    _assert_kept(hosts)
    (kept,) = Path(backup).glob("*.before")
    assert kept.read_text() == BROKEN
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [one.file for one in made.files] == ["/etc/hosts"]
    undone = undo(settings_for(root), root)
    assert hosts.read_text() == BROKEN
    _assert_kept(hosts)
    assert undone["undone"]["id"] == made.id
    assert made.by == undone["undone"]["undone_by"] == invoking_user()
    assert undo(settings_for(root), root)["undone"] is None


def _assert_kept(path: Path) -> None:
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12, 34, 0o640)
    assert os.getxattr(path, "user.note") == b"kept"
    assert [one.name for one in path.parent.iterdir()].count(f".{path.name}.new") == 0


def test_a_file_that_changed_since_is_not_written(root: Path) -> None:
    """Between looking and writing, and between writing and taking back: both say so and change nothing."""
    plan = plan_for(root)
    (root / "etc/hosts").write_text(BROKEN + "# new\n")
    with pytest.raises(UnableError, match="changed meanwhile"):
        apply_plan(_fixes(root), plan, plan.after(), None, root)
    assert _fixes(root).latest() is None
    _apply(root)
    (root / "etc/hosts").write_text("127.0.0.1 mine\n")
    with pytest.raises(UnableError, match="changed since"):
        undo(settings_for(root), root)
    assert (root / "etc/hosts").read_text() == "127.0.0.1 mine\n"


def test_a_file_that_is_not_read_whole_is_not_written(root: Path) -> None:
    """What lies beyond the bound would be lost, from the file and from its backup: no plan, no edit, no way back."""
    plan, hosts, tail = plan_for(root), root / "etc/hosts", f"#{'a long tale ' * 1_000}\n" * 375
    hosts.write_text(BROKEN + tail)
    with pytest.raises(UnableError, match="/etc/hosts is longer than the 4 MiB"):
        fix(settings_for(root), apply=True, root=root)
    with pytest.raises(UnableError, match="/etc/hosts is longer than the 4 MiB"):
        apply_plan(_fixes(root), plan, plan.after(), None, root)
    assert _fixes(root).latest() is None
    assert hosts.read_text() == BROKEN + tail
    hosts.write_text(BROKEN)
    _apply(root)
    hosts.write_text(HEALTHY + tail)
    with pytest.raises(UnableError, match="/etc/hosts is longer than the 4 MiB"):
        undo(settings_for(root), root)
    assert hosts.read_text() == HEALTHY + tail


def test_a_backup_that_is_not_what_was_kept_is_not_restored(root: Path) -> None:
    """A person may have edited the wrong file."""
    _, backup = _apply(root)
    Path(backup, "hosts.before").write_text("")
    with pytest.raises(UnableError, match="was changed since it was made: nothing was undone"):
        undo(settings_for(root), root)
    assert (root / "etc/hosts").read_text() == HEALTHY


def test_a_file_with_another_name_keeps_its_inode(root: Path) -> None:
    """A rename would leave the other name with the wrong line."""
    os.link(root / "etc/hosts", root / "another-name")
    _apply(root)
    assert (root / "another-name").read_text() == HEALTHY
    undo(settings_for(root), root)
    assert (root / "another-name").read_text() == BROKEN


def test_a_link_within_etc_is_followed_and_stays_one(root: Path) -> None:
    """What it leads to is changed; the link is not replaced by a file."""
    (root / "etc/hosts").rename(root / "etc/hosts.fleet")
    (root / "etc/hosts").symlink_to("hosts.fleet")
    _apply(root)
    assert (root / "etc/hosts").is_symlink()
    assert (root / "etc/hosts.fleet").read_text() == HEALTHY


def test_a_link_out_of_etc_is_refused(root: Path) -> None:
    """The path behind it is named."""
    (root / "srv").mkdir()
    (root / "etc/hosts").rename(root / "srv/hosts")
    (root / "etc/hosts").symlink_to("../srv/hosts")
    (edit,) = plan_for(root).edits
    refusal = refuse(edit, _read_text(root, "/etc/hosts"))
    assert refusal is not None
    assert "change /srv/hosts" in refusal.reason


def test_a_file_that_is_immutable_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody keeps every program from changing it; nothing is tried."""

    def flags(_descriptor: int, request: int, answer: bytearray) -> None:
        assert request == 0x80086601
        answer[0] = 0x10

    monkeypatch.setattr("fcntl.ioctl", flags)
    (edit,) = plan_for(root).edits
    refusal = refuse(edit, _read_text(root, "/etc/hosts"))
    assert refusal is not None
    assert refusal.reason.startswith("/etc/hosts is immutable (`lsattr /etc/hosts`)")


@pytest.mark.slow
@pytest.mark.parametrize("linked", [False, True], ids=["by rename", "in place"])
def test_killed_anywhere_it_is_old_or_new(tmp_path: Path, linked: bool) -> None:
    """Never half; what is new can be undone, and done again it ends as it should."""
    folder, copies = make_root(tmp_path / "before"), tmp_path / "copies"
    copies.mkdir()
    if linked:
        os.link(folder / "etc/hosts", folder / "another-name")
    done = subprocess.run(
        [sys.executable, "-m", "tests.commands.killed_fix", str(folder), str(copies)],
        check=True,
        capture_output=True,
        text=True,
    )
    steps = int(done.stdout)
    assert steps > 10, "the steps are not seen any more"
    found = [_settled(copies / str(step)) for step in range(steps)]
    assert set(found) == {BROKEN, HEALTHY}
    assert found == sorted(found, key=lambda content: content == HEALTHY), "once new, it stays new"


def _settled(copy: Path) -> str:
    """What the killed run left, in the sense of a resolver file: line feeds at the end say nothing."""
    content = (copy / "etc/hosts").read_text().rstrip("\n") + "\n"
    if content == BROKEN:
        _apply(copy)
    assert (copy / "etc/hosts").read_text().rstrip("\n") + "\n" == HEALTHY
    return content


def test_an_incident_narrows_by_file_and_text() -> None:
    """Numbers do not count: a line that moved is still meant; one with another text is not."""
    edits = tuple(
        Edit(file=file, line=4, text=text, replacement=None, code="c", explanation="e")
        for file, text in (("/etc/hosts", LINE), ("/etc/hosts", "10.0.0.9 x"), ("/etc/resolv.conf", LINE))
    )
    incident = {"id": "i", "culprit": {"file": "/etc/hosts"}, "lines": [{"line": 99, "text": LINE}]}
    assert narrowed(Plan(edits=edits), incident).edits == edits[:1]
    gone = narrowed(Plan(edits=edits[1:]), incident)
    assert gone.edits == ()
    assert gone.notes == ("nothing that incident i refers to is still wrong in /etc/hosts",)


def test_a_line_whose_secret_was_withheld_is_still_meant() -> None:
    """The incident has it redacted, this node's own file does not."""
    edit = Edit(file="/etc/hosts", line=4, text=f"{LINE} # passwd: s3cret", replacement=None, code="c", explanation="e")
    lines = [{"line": 4, "text": f"{LINE} # passwd: (withheld)"}]
    assert narrowed(Plan(edits=(edit,)), {"id": "i", "culprit": {"file": "/etc/hosts"}, "lines": lines}).edits == (
        edit,
    )


def _document(**parts: object) -> dict[str, object]:
    empty: dict[str, object] = {"incident": None, "edits": [], "refusals": [], "notes": [], "diff": ""}
    empty |= {"applied": None, "backup": None}
    return {**empty, **{name: msgspec.to_builtins(value) for name, value in parts.items()}}


def test_the_exit_status_says_what_is_left_to_do() -> None:
    """0 nothing, 3 to be done with --apply, 4 to be done by a person elsewhere."""
    edit = Edit(file="/etc/hosts", line=4, text=LINE, replacement=None, code="c", explanation="why")
    refusal = FixRefusal(file="/etc/hosts", line=4, text=LINE, code="c", reason="proxmox rewrites it")
    assert exit_status(_document()) == 0
    assert exit_status(_document(edits=[edit])) == 3
    assert exit_status(_document(edits=[edit], applied={"id": "x"})) == 0
    assert exit_status(_document(edits=[edit], refusals=[refusal], applied={"id": "x"})) == 4
    assert "nothing to fix" in render(_document())
    assert "certagent fix --apply" in render(_document(edits=[edit]))
    assert f"not changed: /etc/hosts:4: {LINE}" in render(_document(refusals=[refusal]))


def test_it_says_what_it_did_not_consult() -> None:
    """Last of all, whatever it found; with an incident, it asked the collector."""
    rest = "the CA, other nodes, the files of web servers and nameservers"
    alone, pointed = render(_document()).splitlines(), render(_document(incident="i1")).splitlines()
    assert alone == [
        "nothing to fix in this node's resolver files",
        f"not consulted: the collector (`certagent fix INCIDENT` does), {rest}",
    ]
    assert pointed[-1] == f"not consulted: {rest}"
    assert "not consulted" not in render({"undone": None})


def test_lines_that_no_nameserver_was_there_to_compare_with_are_named(tmp_path: Path) -> None:
    """Nothing to fix is not the same as nothing compared."""
    root = make_root(tmp_path)
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.2\noptions timeout:1 attempts:1\n")
    settings = settings_for(root)
    settings = msgspec.structs.replace(settings, dns=DnsSection(zones=("internal.thinkheads.ai",)))
    document = fix(settings, apply=False, root=root)
    assert list(document["edits"]) == []
    said = f"no nameserver answered for {NAME}: what /etc/hosts says was not compared with DNS"
    assert list(document["notes"]) == [said]
