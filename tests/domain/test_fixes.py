"""Fixes as values: which bytes change, and what stays as it is."""

import pytest

from certagent.domain.findings import Culprit, Vantage
from certagent.domain.fixes import Edit, Text, as_diff, drop_names, edited, name_nameservers, refuse
from certagent.domain.rehearsals import Origin, ResolvedAddress
from certagent.domain.resolution.managed_files import Manager, Surroundings, find_managers
from tests.evidence import NAME, NGINX, make_finding

OTHER = NGINX
CODE = "dns.hosts_shadow.client"
SHADOW = make_finding(
    "dns.hosts_shadow.authority",
    "The CA on lxc103 goes to 10.0.0.153.",
    identifier=NAME,
    culprit=Culprit(node="lxc103", file="/etc/hosts", line=2),
)


def _stray(number: int, *names: str) -> list[tuple[str, ResolvedAddress]]:
    line = ResolvedAddress(address="10.0.0.153", origin=Origin(source="hosts", file="/etc/hosts", line=number))
    return [(name, line) for name in names or (NAME,)]


def _dropped(content: bytes, number: int = 2, *names: str) -> bytes:
    edits = list(drop_names(_stray(number, *names), [SHADOW], CODE, Text(content=content)))
    return edited(content, edits)


def test_a_line_that_names_nothing_else_goes() -> None:
    """With its comment; every other byte stays, blanks, carriage returns and what is no UTF-8 included."""
    content = f"127.0.0.1 localhost\r\n10.0.0.153 {NAME} # why?\n\t10.0.0.1  x\n".encode() + b"# \xff\xfe\n"
    assert _dropped(content) == b"127.0.0.1 localhost\r\n\t10.0.0.1  x\n# \xff\xfe\n"


def test_other_names_of_the_line_stay_as_they_are_spelled() -> None:
    """Only the name that leads astray is taken off, with its first label beside it; the comment stays."""
    content = f"# top\n10.0.0.153\t{OTHER.upper()}   {NAME}. traefik NGINX # two\r\n".encode()
    assert _dropped(content) == f"# top\n10.0.0.153\t{OTHER.upper()} NGINX # two\r\n".encode()


def test_a_line_without_a_line_feed_at_its_end() -> None:
    """The last line may lack it; what was in front keeps its own."""
    assert _dropped(f"127.0.0.1 localhost\n10.0.0.153 {NAME}".encode()) == b"127.0.0.1 localhost"


def test_the_edit_says_why_and_what_is_left() -> None:
    """The finding's code and words; the line as a person reads it."""
    (edit,) = drop_names(_stray(1), [SHADOW], CODE, Text(content=f"10.0.0.153 {OTHER} {NAME}\n".encode()))
    assert (edit.file, edit.line, edit.code) == ("/etc/hosts", 1, SHADOW.code)
    assert edit.text == f"10.0.0.153 {OTHER} {NAME}"
    assert edit.replacement == f"10.0.0.153 {OTHER}"
    assert edit.explanation == SHADOW.explanation


def test_two_names_of_one_line_are_one_edit() -> None:
    """And a line that no finding names, because another one decides, is said to be what it is."""
    content = f"10.0.0.153 {OTHER} {NAME}\n10.0.0.9 x.example\n".encode()
    stray = [*_stray(1, OTHER, NAME), *_stray(2, "x.example")]
    first, second = drop_names(stray, [SHADOW], CODE, Text(content=content))
    assert (first.replacement, first.code) == (None, SHADOW.code)
    assert second.code == CODE
    assert second.explanation == "Line 2 of /etc/hosts leads x.example to 10.0.0.9, but DNS does not."
    assert edited(content, [first, second]) == b""


def test_a_line_is_known_by_its_text() -> None:
    """Wherever it stands by now; and nothing else is taken for it."""
    content = f"127.0.0.1 localhost\n10.0.0.153 {NAME}\n".encode()
    edits = list(drop_names(_stray(2), [SHADOW], CODE, Text(content=content)))
    assert edited(b"# new\n" + content, edits) == b"# new\n127.0.0.1 localhost\n"
    with pytest.raises(ValueError, match="this line no longer exists"):
        edited(b"127.0.0.1 localhost\n10.0.0.12 " + NAME.encode() + b"\n", edits)


def test_nameservers_are_appended_on_lines_of_their_own() -> None:
    """Also behind a last line without a line feed."""
    broken = make_finding("dns.resolv_conf_broken", "none", vantage=Vantage.STATIC)
    edits = list(name_nameservers(broken, ["10.0.0.153", "10.0.0.1"]))
    assert edited(b"search x", edits) == b"search x\nnameserver 10.0.0.153\nnameserver 10.0.0.1\n"
    assert edited(b"", edits[:1]) == b"nameserver 10.0.0.153\n"


def _edit(line: int = 2) -> Edit:
    return Edit(file="/etc/hosts", line=line, text="x", replacement=None, code="c", explanation="e")


def test_a_managed_line_is_refused_with_the_place_to_change_it() -> None:
    """Proxmox's section; a line outside of it is a person's, and so is one that Proxmox was told to leave."""
    content = b"# --- BEGIN PVE ---\n10.0.0.1 x\n# --- END PVE ---\n10.0.0.2 y\n"
    text = Text(content=content, managers=find_managers(content))
    refusal = refuse(_edit(), text)
    assert refusal is not None
    assert refusal.reason.startswith("proxmox rewrites it: change it on the Proxmox VE host")
    assert "/etc/.pve-ignore.hosts" in refusal.reason
    assert refuse(_edit(4), text) is None
    left_alone = find_managers(content, Surroundings(pve_ignored=True))
    assert refuse(_edit(), Text(content=content, managers=left_alone)) is None


@pytest.mark.parametrize("manager", Manager)
def test_for_every_manager_there_is_another_place(manager: Manager) -> None:
    """Nobody is sent away without being told where to go."""
    refusal = refuse(_edit(), Text(content=b"", managers={2: manager}))
    assert refusal is not None
    assert len(refusal.reason) > len(f"{manager} rewrites it: change it .")
    assert "{" not in refusal.reason


def test_a_link_out_of_etc_is_refused() -> None:
    """It is another program's file."""
    refusal = refuse(_edit(), Text(content=b"", leads_to="/run/systemd/resolve/stub-resolv.conf"))
    assert refusal is not None
    assert "change /run/systemd/resolve/stub-resolv.conf" in refusal.reason


def test_the_diff_is_one_that_a_person_reads() -> None:
    """Unified, printable whatever the bytes are."""
    assert as_diff("/etc/hosts", b"a\nb\xff\n", b"a\n").splitlines() == [
        "--- /etc/hosts",
        "+++ /etc/hosts",
        "@@ -1,2 +1 @@",
        " a",
        "-b\\xff",
    ]
