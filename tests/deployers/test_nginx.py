"""What is asked of nginx's own programs, and what their words become. nginx itself is met in the lab."""

import asyncio
import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from certagent.config import CommandTarget, NginxTarget
from certagent.deployers.deploy import make_target
from certagent.deployers.nginx import NginxProcesses, _pid_file
from certagent.deployers.target import Target
from certagent.deployers.wave import Member
from certagent.domain.deployments import Proof
from certagent.domain.diagnosis.order_result import fault_found
from certagent.domain.findings import Finding
from certagent.domain.observations import Place
from certagent.domain.web_servers.nginx_tls import WorkerReader
from certagent.system.clock import SystemClock
from certagent.system.processes import ReloadCoordinator
from certagent.system.procfs import ProcFs
from tests.certificates import Authority
from tests.deployers.place import open_folder
from tests.deployers.reloads import RELOADS
from tests.fakes.clock import FakeClock

SAID = """nginx: [warn] conflicting server name "a" on 0.0.0.0:80, ignored
nginx: [emerg] cannot load certificate "/etc/nginx/ssl/gateway.crt": No such file or directory
nginx: configuration file /etc/nginx/nginx.conf test failed"""


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """A configured nginx."""
    return _target(tmp_path)


def _target(folder: Path) -> Target:
    settings = NginxTarget(certificate=folder / "gateway.crt", key=folder / "gateway.key")
    return make_target("gateway", settings, ReloadCoordinator(SystemClock()))


def _program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> Path:
    """What is found as `nginx` and as `systemctl`: notes its arguments, says what nginx said, ends so."""
    (tmp_path / "said").write_text(SAID)
    for name in ("nginx", "systemctl"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/asked\ncat {tmp_path}/said\nexit {status}\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "asked"


async def test_a_configuration_that_nginx_refuses_is_told_in_its_words(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first line that is no mere warning, and all of it as evidence."""
    asked = _program(tmp_path, monkeypatch, status=1)
    fault = await target.validate()
    assert fault is not None
    assert fault.code == "deploy.validate_failed"
    assert fault_found("lxc101", fault).explanation == (
        "nginx rejects its configuration: nginx -t -q exited with status 1: nginx: [emerg] cannot load "
        'certificate "/etc/nginx/ssl/gateway.crt": No such file or directory'
    )
    assert fault.detail["output"] == SAID
    assert asked.read_text() == "nginx -t -q\n"


@pytest.mark.parametrize(("booted", "asked"), [(True, "systemctl reload nginx\n"), (False, "nginx -s reload\n")])
async def test_it_is_reloaded_through_systemd_where_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, booted: bool, asked: str
) -> None:
    """Elsewhere by its own signal."""
    monkeypatch.setattr("certagent.deployers.nginx._BOOTED_BY_SYSTEMD", tmp_path if booted else tmp_path / "none")
    noted = _program(tmp_path, monkeypatch, status=0)
    target = _target(tmp_path)
    assert await target.validate() is None
    noted.unlink()
    assert await target.reload() is None
    assert noted.read_text() == asked


async def test_the_place_that_nginx_names_is_the_culprit(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File and line, as in nginx's own words."""
    _program(tmp_path, monkeypatch, status=1)
    words = 'nginx: [emerg] unknown directive "lissten" in /etc/nginx/conf.d/gateway.conf:4'
    (tmp_path / "said").write_text(words)
    fault = await target.validate()
    assert fault is not None
    assert (fault.file, fault.line) == ("/etc/nginx/conf.d/gateway.conf", 4)


async def test_many_deployments_share_a_test_and_a_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty certificates of one nginx, at once."""
    monkeypatch.setattr("certagent.deployers.nginx._BOOTED_BY_SYSTEMD", tmp_path)
    asked = _program(tmp_path, monkeypatch, status=0)
    reloads = ReloadCoordinator(FakeClock())
    settings = NginxTarget(certificate=tmp_path / "a.crt", key=tmp_path / "a.key")
    members = [Member(make_target(f"n{number}", settings, reloads), None, FakeClock()) for number in range(20)]
    for member in members:
        member.generation = Authority().issue("a.internal").generation()
        await asyncio.to_thread(member.target.stage, member.generation)
    await asyncio.gather(*(member.go_live() for member in members))
    assert asked.read_text().splitlines() == ["nginx -t -q", "systemctl reload nginx"]


@pytest.mark.parametrize("reading", ["validate", "reload"])
async def test_no_pair_changes_while_nginx_reads_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reading: str
) -> None:
    """Nor any other of the same nginx; one of another service does not wait."""
    monkeypatch.setattr("certagent.deployers.nginx._BOOTED_BY_SYSTEMD", tmp_path)
    for name in ("nginx", "systemctl"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/reads\nuntil [ -e {tmp_path}/end ]; do sleep 0.01; done\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    reloads = ReloadCoordinator(SystemClock())
    settings = NginxTarget(certificate=tmp_path / "a.crt", key=tmp_path / "a.key")
    one, other = (make_target(name, settings, reloads) for name in ("one", "other"))
    elsewhere = CommandTarget(certificate=tmp_path / "b.crt", key=tmp_path / "b.key", command=("true",))
    generation = Authority().issue("a.internal").generation() if reading == "validate" else None
    if generation is not None:
        one.stage(generation)
    read = asyncio.create_task(Member(one, generation, SystemClock()).go_live(), name=reading)
    while not (tmp_path / "reads").exists():
        await asyncio.sleep(0.01)
    async with make_target("elsewhere", elsewhere, reloads).writing():
        pass
    changed = asyncio.create_task(_change(other), name="change")
    await asyncio.sleep(0.1)
    assert not changed.done()
    (tmp_path / "end").touch()
    await read
    await changed


async def _change(target: Target) -> None:
    async with target.writing():
        pass


def test_what_an_error_log_says_of_requests_is_not_told(tmp_path: Path) -> None:
    """Only what nginx says of itself, since the moment before the reload."""
    log = tmp_path / "error.log"
    log.write_text("2026/01/01 [emerg] 1#1: from before\n")
    before = NginxProcesses(frozenset({7, 8}), {str(log): log.stat().st_size})
    with log.open("a") as file:
        file.write("2026/01/01 [error] 7#7: *1 open() failed, client: 10.0.0.50, request: GET /?token=x\n")
    assert before.said_since() == (str(log), None)
    with log.open("a") as file:
        file.write("2026/01/01 [emerg] 1#1: bind() to 0.0.0.0:81 failed (98: Address already in use)\n")
    said = before.said_since()[1]
    assert said is not None
    assert said.endswith("bind() to 0.0.0.0:81 failed (98: Address already in use)")
    assert before.were_kept(NginxProcesses(frozenset({7}), {}))
    assert not before.were_kept(NginxProcesses(frozenset({7, 8, 9}), {}))


# --- nginx's own words, and its own number ----------------------------------------------------------------------------

MASTER, OLD_WORKERS = 51, frozenset({52, 53})


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "_Told":
    """An nginx that runs, and was told to reload."""
    return _Told(tmp_path, monkeypatch)


class _Told:
    """nginx's processes, its error log and its PID file, as they are to be found."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.log, self.pid_file = folder / "error.log", folder / "nginx.pid"
        self.log.write_text("")
        self.workers = OLD_WORKERS
        self.target = _target(folder)
        _program(folder, patch, status=0)
        patch.setattr("certagent.deployers.nginx.LOAD_SECONDS", 0.05)
        patch.setattr("certagent.deployers.nginx.find_workers", self.find_workers)
        patch.setattr("certagent.deployers.nginx._pid_file", lambda: self.pid_file)

    def find_workers(self) -> NginxProcesses:
        return NginxProcesses(self.workers, {str(self.log): self.log.stat().st_size}, frozenset({MASTER}))

    def shake_hands(self, key: Path, user: int = 65534) -> None:
        """A worker that runs as `user` loads the key, and logs that as nginx does."""
        opened = subprocess.run(
            ["cat", str(key)], user=user, group=user, extra_groups=[], capture_output=True, check=False
        )
        if opened.returncode:
            with self.log.open("a") as log:
                log.write(
                    f'2026/01/01 00:00:00 [error] 60#60: *7 cannot load certificate key "{key}": BIO_new_file() failed'
                    f" (SSL: error:8000000D:system library::{opened.stderr.decode().strip().rpartition(': ')[2]})"
                    " while SSL handshaking, client: 10.0.0.50, server: 0.0.0.0:443\n"
                )

    async def explain(self) -> list[Finding]:
        """After a proof that came to nothing."""
        generation = Authority().issue("a.internal").generation()
        proof = Proof(fingerprint=generation.facts.fingerprint, endpoints=())
        return [fault_found("lxc101", fault) for fault in await self.target.explain(generation, proof)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        (None, "is missing"),
        ("4711\n", "says '4711', which is not the process ID of an nginx master"),
        ("nonsense", "says 'nonsense', which is not the process ID of an nginx master"),
    ],
)
async def test_a_pid_file_that_names_no_master(told: _Told, content: str | None, said: str) -> None:
    """Nothing was signalled: that is told, and not that nginx ignored it. Once it names the master, what is left is
    what nginx did."""
    if content is not None:
        told.pid_file.write_text(content)
    await told.target.reload()
    (finding,) = await told.explain()
    assert (finding.code, finding.variant) == ("deploy.reload_failed", "no_master")
    assert finding.culprit is not None
    assert finding.culprit.file == str(told.pid_file)
    assert finding.explanation.endswith(f"nginx was not told to reload: {told.pid_file} {said}.")
    told.pid_file.write_text(f"{MASTER}\n")
    assert [one.code for one in await told.explain()] == ["deploy.reload_no_effect"]
    told.workers = frozenset({60})
    assert await told.explain() == []


async def test_what_the_workers_say_of_the_pair_is_quoted(told: _Told) -> None:
    """A pair by a variable is read at each handshake: the log names the file, and of the client nothing is told."""
    told.pid_file.write_text(f"{MASTER}\n")
    await told.target.reload()
    told.workers = frozenset({60})
    with told.log.open("a") as log:
        log.write(
            '2026/01/01 00:00:00 [error] 60#60: *7 cannot load certificate key "/etc/nginx/ssl/gateway.key":'
            " BIO_new_file() failed (SSL: error:8000000D:system library::Permission denied) while SSL handshaking,"
            " client: 10.0.0.50, server: 0.0.0.0:443\n"
        )
    (finding,) = await told.explain()
    assert (finding.code, finding.variant) == ("deploy.unreadable_by_service", "logged")
    assert finding.culprit is not None
    assert finding.culprit.file == "/etc/nginx/ssl/gateway.key"
    assert "Permission denied" in finding.explanation
    assert "10.0.0.50" not in finding.explanation
    await told.target.reload()
    told.workers = frozenset({61})
    assert await told.explain() == []


async def test_the_workers_read_the_key_once_its_group_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of nginx's user really opens the file, and its error log says what came of that. With `group`, as the
    fix says, the next deployment is read."""
    with open_folder() as folder:
        told = _Told(folder, monkeypatch)
        told.pid_file.write_text(f"{MASTER}\n")
        generation = Authority().issue("a.internal").generation()
        found = []
        for group in ("root", "nogroup"):
            settings = NginxTarget(certificate=folder / "gateway.crt", key=folder / "gateway.key", group=group)
            told.target = make_target("gateway", settings, ReloadCoordinator(SystemClock()))
            told.target.stage(generation)
            told.target.promote(generation)
            await told.target.reload()
            told.workers = frozenset({max(told.workers) + 1})
            told.shake_hands(settings.key)
            found.append([(one.code, one.variant, one.culprit and one.culprit.file) for one in await told.explain()])
    assert found == [[("deploy.unreadable_by_service", "logged", str(folder / "gateway.key"))], []]


def test_the_pid_file_is_where_the_configuration_has_it(tmp_path: Path) -> None:
    """Else where distributions have it; a file that cannot be read says nothing."""
    configuration = tmp_path / "nginx.conf"
    assert _pid_file(configuration) == Path("/run/nginx.pid")
    configuration.write_text("# pid /run/other.pid;\nuser www-data;\npid /run/mine.pid;\n")
    assert _pid_file(configuration) == Path("/run/mine.pid")


def test_whom_a_process_runs_as_is_not_whose_folder_it_has(tmp_path: Path) -> None:
    """nginx's workers begin as root: what the kernel shows of them in /proc stays root's."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text("Uid:\t33\t33\t33\t33\nGid:\t33\t33\t33\t33\nGroups:\t33\nCapEff:\t0\n")
    assert (ProcFs(tmp_path).user_of(7), ProcFs(tmp_path).user_of(8)) == (33, None)


def test_the_worker_that_reads_the_pair_is_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom it runs as, else as configured; what the target's own section says goes before."""
    worker = WorkerReader("www-data", Place(file="/etc/nginx/a.conf", line=4, text="ssl_certificate_key ssl/$n.key;"))
    settings = NginxTarget(certificate=tmp_path / "a.crt", key=tmp_path / "a.key")
    monkeypatch.setattr("certagent.deployers.nginx.find_worker_user", lambda: None)

    def reader(worker: WorkerReader | None, **more: str) -> str | None:
        return make_target("a", msgspec.structs.replace(settings, **more), RELOADS, worker).reader()

    assert (reader(None), reader(worker), reader(worker, reader="nobody")) == ("root", "www-data", "nobody")
    monkeypatch.setattr("certagent.deployers.nginx.find_worker_user", lambda: "33")
    assert reader(worker) == "33"
    why = make_target("a", settings, RELOADS, worker).reads_because()
    assert why == "nginx's workers read it at each handshake, by ssl_certificate_key ssl/$n.key; (/etc/nginx/a.conf:4)"


async def test_one_look_is_a_proof_once_no_old_worker_accepts(told: _Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old and new ones side by side are waited for; where the old ones stay, nothing is settled."""
    monkeypatch.setattr("certagent.deployers.nginx.LOAD_SECONDS", 1.0)
    seen = iter([OLD_WORKERS, OLD_WORKERS, OLD_WORKERS | {60}, frozenset({60})])

    def find() -> NginxProcesses:
        told.workers = next(seen, told.workers)
        return NginxProcesses(told.workers, {}, frozenset({MASTER}))

    monkeypatch.setattr("certagent.deployers.nginx.find_workers", find)
    assert not told.target.has_settled()
    await told.target.reload()
    assert told.target.has_settled()
    assert next(seen, None) is None
    monkeypatch.setattr("certagent.deployers.nginx.LOAD_SECONDS", 0.05)
    await told.target.reload()
    assert not told.target.has_settled()
