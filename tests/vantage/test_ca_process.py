"""The CA's own environment, read from a real process beside us (a shell that is called like it)."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from certagent.config import AgentSection, AgentSettings, AuthoritySection, VantageSection
from certagent.domain.rehearsals import (
    Connection,
    DnsAnswer,
    Origin,
    RehearsalOutcome,
    RehearsalRequest,
    Resolution,
    ResolvedAddress,
    digest_for,
)
from certagent.system.clock import SystemClock
from certagent.system.procfs import ProcFs, Reader
from certagent.system.regular_files import LARGEST_FILE, FileState, read_within
from certagent.vantage.authority_vantage import AuthorityVantage, judge, stale_connections
from certagent.vantage.ca_process import CACHED_FOR, BlindError, CaProcess, read_flags
from tests.fakes.clock import SetClock

NAME = "certagent-test-ca"  # longer than the 15 characters that the kernel keeps
NOBODY = 65534
FLAGS = ["ca.json", "--insecure", "--acme-strict-fqdn", "--acme-http-port", "8080", "-resolver=10.0.0.1:53"]
SECTION = VantageSection(allow=("*.internal.thinkheads.ai",), process=NAME)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Somebody whom the CA can hold a connection to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def ca(tmp_path: Path, server: socket.socket) -> Iterator[subprocess.Popen[bytes]]:
    """A process with the CA's name, flags, proxy, and one open connection."""
    program = tmp_path / NAME
    shutil.copy("/bin/bash", program)
    script = f"exec 3<>/dev/tcp/127.0.0.1/{server.getsockname()[1]}; echo ready; read"
    environment = {"HTTP_PROXY": "http://me:secret@proxy:3128", "NO_PROXY": "x", "SECRET": "key", "GODEBUG": "netdns=1"}
    command = [str(program), "-c", script, *FLAGS]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


@pytest.fixture
def ca_of_nobody() -> Iterator[subprocess.Popen[bytes]]:
    """A process with the CA's name that has no rights."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        program = shutil.copy("/bin/sleep", Path(folder, NAME))
        with subprocess.Popen([program, "600"], user=NOBODY, group=NOBODY, extra_groups=[]) as process:
            yield process
            process.kill()


def test_the_ca_s_world_is_seen(ca: subprocess.Popen[bytes], server: socket.socket) -> None:
    """Process, flags, connection, files; of the environment only what concerns us."""
    environment = CaProcess(SECTION, SystemClock()).observe()
    assert environment.process.pid == ca.pid
    assert environment.shown_flags() == ("--acme-strict-fqdn", "--acme-http-port=8080", "--resolver=10.0.0.1:53")
    assert (environment.fetch_options.http_port, environment.fetch_options.strict_fqdn) == (8080, True)
    assert environment.files.resolv_conf.asked() == ("10.0.0.1",)
    assert environment.connections == (Connection(address="127.0.0.1", port=server.getsockname()[1]),)
    assert set(environment.environment) == {"HTTP_PROXY", "NO_PROXY", "GODEBUG"}
    assert environment.states["/etc/hosts"].content == Path("/etc/hosts").read_bytes()


async def test_a_proxy_makes_the_rehearsal_unavailable_and_shows_no_secret(ca: subprocess.Popen[bytes]) -> None:
    """What the proxy would see is not known here."""
    vantage = AuthorityVantage(_settings(), SECTION, SystemClock())
    rehearsal = await vantage.rehearse(_request("x1.internal.thinkheads.ai"))
    assert rehearsal.outcome is RehearsalOutcome.UNAVAILABLE
    assert rehearsal.proxy == "http://proxy:3128"
    assert "secret" not in str(rehearsal)


CONFIGURATION = """{"authority": {"provisioners": [
    {"type": "ACME", "name": "acme", "challenges": ["http-01"]}]}}"""


@pytest.fixture
def configured_ca(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A CA whose configuration offers http-01 alone."""
    (tmp_path / "ca.json").write_text(CONFIGURATION)
    program = shutil.copy("/bin/bash", tmp_path / NAME)
    command = [program, "-c", "echo ready; read", str(tmp_path / "ca.json"), "--acme-strict-fqdn"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


@pytest.mark.parametrize("planted", [True, False])
async def test_a_rehearsal_of_a_record_says_what_the_ca_offers(
    configured_ca: subprocess.Popen[bytes], planted: bool
) -> None:
    """dns-01: as of every challenge. What nobody planted is not looked for, and so cannot fail."""
    request = msgspec.structs.replace(_request("*.a.internal.thinkheads.ai"), challenge="dns-01", planted=planted)
    rehearsal = await AuthorityVantage(_settings(), SECTION, SystemClock()).rehearse(request)
    assert (rehearsal.challenge, rehearsal.planted, rehearsal.attempts) == ("dns-01", planted, ())
    assert rehearsal.outcome is (RehearsalOutcome.FAILED if planted else RehearsalOutcome.UNAVAILABLE)
    assert (rehearsal.txt is not None) is planted
    assert rehearsal.provisioner is not None
    assert rehearsal.provisioner.challenges == ("http-01",)
    assert rehearsal.authority_flags == ("--acme-strict-fqdn",)


def _settings() -> AgentSettings:
    authority = AuthoritySection(directory="https://ca.internal.thinkheads.ai:9000/acme/acme/directory")
    return AgentSettings(agent=AgentSection(name="lxc103"), authority=authority)


def _request(name: str) -> RehearsalRequest:
    return RehearsalRequest(identifier=name, token="t" * 43, digest=digest_for("t" * 43))


async def test_without_a_ca_the_rehearsal_says_so() -> None:
    """Unavailable, and a reason for a person."""
    vantage = AuthorityVantage(_settings(), VantageSection(allow=("*.x",), process="no-such-ca"), SystemClock())
    rehearsal = await vantage.rehearse(_request("a.x"))
    assert rehearsal.outcome is RehearsalOutcome.UNAVAILABLE
    assert rehearsal.reason == "no process named 'no-such-ca' runs on this node"
    assert (await vantage.inspect_files()).reason == rehearsal.reason


@pytest.mark.slow
async def test_a_flood_is_refused() -> None:
    """Of one identifier first; the others still get their turn."""
    vantage = AuthorityVantage(_settings(), VantageSection(allow=("*.x",), process="no-such-ca"), SystemClock())
    answers = await asyncio.gather(*(vantage.rehearse(_request("a.x")) for _ in range(100)))
    assert sum("too many" in (answer.reason or "") for answer in answers) >= 60
    assert "too many" not in ((await vantage.rehearse(_request("b.x"))).reason or "")


@pytest.mark.slow
async def test_a_flood_of_one_node_costs_no_other_its_rehearsals() -> None:
    """Of one identifier, and of many; also of the other's own identifier, which the flood claims."""
    vantage = AuthorityVantage(_settings(), VantageSection(allow=("*.x",), process="no-such-ca"), SystemClock())
    names = [f"{number % 40}.x" for number in range(2_000)]
    answers = await asyncio.gather(*(vantage.rehearse(_request(name), "evil") for name in names))
    assert sum(answer.is_busy for answer in answers) >= 1_700
    for name in ("0.x", "a.x"):
        assert not (await vantage.rehearse(_request(name), "lxc102")).is_busy


def test_what_we_may_not_see_is_said(ca: subprocess.Popen[bytes]) -> None:
    """A process of somebody else, seen by somebody without rights."""
    code = (
        "import os\n"
        "from certagent.config import VantageSection\n"
        "from certagent.vantage.ca_process import BlindError, CaProcess\n"
        "from certagent.system.clock import SystemClock\n"
        f"authority = CaProcess(VantageSection(allow=(), process={NAME!r}), SystemClock())\n"
        "os.setgid(65534), os.setuid(65534)\n"
        "try: authority.observe()\n"
        "except BlindError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "not allowed to read process" in said.stdout


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (("step-ca", "ca.json"), {}),
        (("step-ca", "--acme-strict-fqdn=false"), {}),
        (("step-ca", "--acme-tls-port=8443"), {"acme-tls-port": "8443"}),
        (("step-ca", "--resolver"), {"resolver": ""}),
        (("step-ca", "--password-file", "x", "--acme-http-port=80"), {"acme-http-port": "80"}),
    ],
)
def test_flags(command: tuple[str, ...], flags: dict[str, str]) -> None:
    """Only those that move the goalposts."""
    assert read_flags(command) == flags


@pytest.fixture
def etc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The CA's /etc, empty."""
    monkeypatch.setattr(ProcFs, "root_of", lambda _self, _pid: tmp_path / "root")
    path = tmp_path / "root" / "etc"
    path.mkdir(parents=True)
    return path


def test_a_fresh_change_needs_time_to_settle(ca: subprocess.Popen[bytes], etc: Path) -> None:
    """Until 5 s after the file changed; ctime counts, for mtime can be set back."""
    (etc / "hosts").write_text("10.0.0.153 a.internal.thinkheads.ai\n")
    os.utime(etc / "hosts", (0, 0))
    clock = SetClock(datetime.now(UTC))
    authority = CaProcess(SECTION, clock)
    settles_at = authority.observe().settles_at
    assert settles_at is not None
    assert timedelta(0) < settles_at - clock.now() <= CACHED_FOR
    clock.instant += CACHED_FOR
    assert authority.observe().settles_at is None


def test_a_change_that_moves_no_time_is_noticed_by_content(ca: subprocess.Popen[bytes], etc: Path) -> None:
    """A file that vanished has no times at all."""
    (etc / "hosts").write_text("10.0.0.153 a.internal.thinkheads.ai\n")
    clock = SetClock(datetime.now(UTC) + timedelta(minutes=1))
    authority = CaProcess(SECTION, clock)
    assert authority.observe().settles_at is None
    (etc / "hosts").unlink()
    assert authority.observe().settles_at == clock.now() + CACHED_FOR


def test_an_edit_that_keeps_size_and_time_stays_unseen_until_touched(ca: subprocess.Popen[bytes], etc: Path) -> None:
    """dns.hosts_edit_unseen: by what the lines mean, so that a comment is none; a touch ends it."""
    hosts = etc / "hosts"
    authority = CaProcess(SECTION, SystemClock())

    def look_at(content: str, seconds: int) -> set[str]:
        hosts.write_text(content)
        os.utime(hosts, (seconds, seconds))
        return set(authority.observe().unseen_names)

    assert look_at("10.0.0.153 a.internal # x\n", 1_000) == set()
    assert look_at("10.0.0.153 a.internal # y\n", 1_000) == set()
    assert look_at("10.0.0.12  a.internal # y\n", 1_000) == {"a.internal"}
    assert look_at("10.0.0.12  a.internal # y\n", 2_000) == set()


def test_what_the_ca_s_user_may_not_read_is_absent_to_it(ca_of_nobody: subprocess.Popen[bytes], etc: Path) -> None:
    """dns.file_unreadable: root sees the files, the CA has Go's defaults in their place."""
    (etc / "hosts").write_text("10.0.0.12 a.internal\n")
    (etc / "resolv.conf").write_text("nameserver 10.0.0.153\n")
    authority = CaProcess(SECTION, SystemClock())
    assert authority.observe().files.unreadable == ()
    for name in ("hosts", "resolv.conf"):
        (etc / name).chmod(0o640)
    environment = authority.observe()
    assert environment.process.pid == ca_of_nobody.pid
    assert environment.files.unreadable == ("/etc/hosts", "/etc/resolv.conf")
    assert environment.files.in_hosts("a.internal") == ()
    assert environment.files.resolv_conf.asked() == ("127.0.0.1", "::1")
    assert environment.states["/etc/hosts"].content == b"10.0.0.12 a.internal\n"
    os.chown(etc / "hosts", 0, NOBODY)
    os.chown(etc / "resolv.conf", NOBODY, 0)
    assert authority.observe().files.unreadable == ()


@pytest.mark.parametrize(
    ("owner", "group", "mode", "is_readable"),
    [(7, 0, 0o400, True), (7, 8, 0o044, False), (0, 8, 0o040, True), (0, 8, 0o604, False), (0, 0, 0o004, True),
     (0, 9, 0o440, True), (0, 0, 0o660, False)],
)  # fmt: skip
def test_a_file_is_read_as_owner_or_as_group_or_as_others(owner: int, group: int, mode: int, is_readable: bool) -> None:
    """One of the three, as the kernel does it; none for who may read all."""
    state = FileState(content=b"", owner=owner, group=group, mode=mode)
    assert Reader(7, frozenset({8, 9})).may_read(state) is is_readable
    assert Reader(7, frozenset(), may_read_all=True).may_read(state)


def test_a_ca_that_started_after_the_change_has_read_it(ca: subprocess.Popen[bytes]) -> None:
    """This machine's own files are older than the process."""
    assert CaProcess(SECTION, SystemClock()).observe().settles_at is None


def _resolution(*addresses: str, dns: tuple[str, ...] = ()) -> Resolution:
    origin = Origin(source="hosts")
    answer = DnsAnswer(nameserver="n", name="a.", record="A", status="ok", addresses=dns)
    return Resolution(
        name="a", addresses=tuple(ResolvedAddress(address=one, origin=origin) for one in addresses), dns=(answer,)
    )


def test_connections_to_where_the_name_leads_no_longer_are_stale() -> None:
    """To challenge ports, and only where this name once led."""
    old, new, stranger = (Connection(address=f"10.0.0.{number}", port=80) for number in (153, 12, 99))
    other_port = Connection(address="10.0.0.153", port=9000)
    held = (old, new, stranger, other_port, old)
    known = frozenset({"10.0.0.153", "10.0.0.12"})
    assert stale_connections(held, frozenset({80, 443}), _resolution("10.0.0.12"), known) == (old,)


def test_a_failed_look_up_is_a_failed_rehearsal() -> None:
    """The CA would fail as well."""
    assert judge(())[0] is RehearsalOutcome.FAILED


def test_links_are_followed_inside_the_other_root(tmp_path: Path) -> None:
    """An absolute link leads to the CA's file, never to ours."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stub").write_bytes(b"theirs")
    (tmp_path / "etc" / "resolv.conf").symlink_to("/etc/../../../run/stub")
    (tmp_path / "etc" / "hosts").symlink_to("hosts")
    (tmp_path / "etc" / "nsswitch.conf").symlink_to("/nowhere/at/all")
    found = read_within(tmp_path, "/etc/resolv.conf")
    assert (found.content, found.target) == (b"theirs", "/etc/../../../run/stub")
    assert read_within(tmp_path, "/etc/hosts").content is None
    dangling = read_within(tmp_path, "/etc/nsswitch.conf")
    assert (dangling.content, dangling.target) == (None, "/nowhere/at/all")
    assert dangling.changed_at is not None


def test_what_is_no_file_is_none(tmp_path: Path) -> None:
    """A folder, a pipe: nothing to read, nothing to wait for."""
    (tmp_path / "hosts").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert read_within(tmp_path, "/hosts").content is None
    assert read_within(tmp_path, "/pipe").content in (None, b"")


@pytest.mark.parametrize("size", [0, 200, LARGEST_FILE, LARGEST_FILE + 1])
def test_a_file_is_read_up_to_its_bound(size: int, tmp_path: Path) -> None:
    """What is longer is told from what ends there."""
    (tmp_path / "hosts").write_bytes(b"x" * size)
    found = read_within(tmp_path, "/hosts")
    assert len(found.content or b"") == min(size, LARGEST_FILE)
    assert found.is_whole == (size <= LARGEST_FILE)


def test_sockets_of_both_families_are_told_apart(server: socket.socket) -> None:
    """By address, port and state."""
    listening = [one for one in ProcFs().sockets("listen") if one.port == server.getsockname()[1]]
    assert [one.address for one in listening] == ["127.0.0.1"]
    assert ProcFs().owners(frozenset({listening[0].inode}))[listening[0].inode].pid == os.getpid()


def test_a_blind_error_is_for_a_person() -> None:
    """It names the process that was looked for."""
    with pytest.raises(BlindError, match="'no-such-ca'"):
        CaProcess(VantageSection(allow=(), process="no-such-ca"), SystemClock()).observe()
