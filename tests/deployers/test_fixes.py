"""What a finding tells a person to do ends the failure: each `fix` of a failed deployment, done."""

import ast
import errno
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certagent.config import CommandTarget, DeployTarget, HaproxyTarget, NginxTarget, TraefikTarget
from certagent.deployers.deploy import Deployer, make_target
from certagent.deployers.generation_store import GenerationStore
from certagent.deployers.pair_inspection import KEY
from certagent.deployers.target import Target
from certagent.deployers.traefik import Loaded
from certagent.domain.catalogue.entries import CATALOGUE
from certagent.domain.certificates import read_roots
from certagent.domain.deployments import Deployment, Generation, Proof, RollbackResult, WantedCertificate
from certagent.domain.diagnosis.order_result import deployment_failed
from certagent.system.clock import SystemClock
from tests.certificates import Authority
from tests.deployers.dies_at import deploy
from tests.deployers.place import NAME, RELOAD, Place, open_folder, open_place
from tests.deployers.reloads import RELOADS

pytestmark = pytest.mark.slow

TREE = Path(__file__).parents[2]
SHORT = 0.1


class Trial:
    """A deployment that fails, and is done again after its fix. What is undone at the end goes on `undo`."""

    def __init__(self, place: Place, patch: pytest.MonkeyPatch, undo: ExitStack) -> None:
        self.place = place
        self.patch = patch
        self.undo = undo
        self.job = place.job(within=SHORT)

    def configure(self, **settings: Any) -> None:
        """Other settings, as after a restart of the agent."""
        self.job.settings = msgspec.structs.replace(self.job.settings, **settings)

    async def deploy(self) -> Deployment:
        """The same generation each time."""
        return await deploy(self.job)


Fix = Callable[[], None]


def _service_does_not_reload(trial: Trial) -> Fix:
    trial.configure(command=("true",))
    return lambda: trial.configure(command=RELOAD)


def _service_shows_its_own(trial: Trial) -> Fix:
    stop_gap = Authority().issue("0123456789abcdef.traefik.default")
    trial.configure(command=("true",))
    trial.place.server.serve(stop_gap)
    return lambda: trial.configure(command=RELOAD)


def _nobody_listens(trial: Trial) -> Fix:
    trial.configure(prove=("127.0.0.1:1",))
    return lambda: trial.configure(prove=(trial.place.server.endpoint,))


def _folder_is_missing(trial: Trial) -> Fix:
    folder = trial.place.folder / "ssl"
    trial.configure(certificate=folder / "web.crt", key=folder / "web.key", command=(), prove=())
    return folder.mkdir


def _kernel_refuses(number: int) -> Callable[[Trial], Fix]:
    def refuse(trial: Trial) -> Fix:
        def fail(_: int) -> None:
            raise OSError(number, os.strerror(number), str(trial.place.certificate))

        patch = trial.undo.enter_context(trial.patch.context())
        patch.setattr(os, "fsync", fail)
        return patch.undo

    return refuse


def _folder_is_foreign(trial: Trial) -> Fix:
    """As root of an unprivileged container sees it: nobody's, and not even root may write."""
    folder = trial.place.folder / ".certagent-web"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    patch = trial.undo.enter_context(trial.patch.context())
    patch.setattr("certagent.deployers.faults._is_mapped", lambda: True)

    def fail(path: Path) -> None:
        if path.lstat().st_uid == 65534:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    patch.setattr("certagent.deployers.generation_store.require_writable", fail)
    return lambda: os.chown(folder, 0, 0)


def _link_is_anothers(trial: Trial) -> Fix:
    folder = trial.place.folder / "app"
    (folder / "releases" / "42").mkdir(parents=True)
    (folder / "current").symlink_to("releases/42")
    os.chown(folder, 33, 33)
    trial.configure(certificate=folder / "current/web.crt", key=folder / "current/web.key", command=(), prove=())
    return lambda: os.chown(folder, 0, 0)


def _file_has_another_name(trial: Trial) -> Fix:
    key = trial.place.key
    os.link(key, trial.place.folder.parent / f"{trial.place.folder.name}.key")
    trial.undo.callback(Path(f"{trial.place.folder}.key").unlink)
    os.chown(trial.place.folder, 33, 33)

    def copy() -> None:
        content = key.read_bytes()
        key.unlink()
        key.write_bytes(content)

    return copy


def _store_is_a_strangers(trial: Trial) -> Fix:
    store = trial.place.folder / ".certagent-web"
    store.mkdir()
    os.chown(store, 65534, 65534)
    trial.place.folder.chmod(0o1777)
    return store.rmdir


def _owner_is_unknown(trial: Trial) -> Fix:
    trial.configure(group="nobody-has-this")
    return lambda: trial.configure(group="nogroup")


def _reader_is_unknown(trial: Trial) -> Fix:
    trial.configure(reader="nobody-has-this")
    return lambda: trial.configure(reader="root")


def _owner_is_outside_the_map(trial: Trial) -> Fix:
    def fail(_: int, uid: int, gid: int) -> None:
        if max(uid, gid) >= 65536:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    trial.patch.setattr(os, "fchown", fail)
    trial.configure(group="70000")
    return lambda: trial.configure(group="0")


def _somebody_removes_the_pair(trial: Trial) -> Fix:
    patch = trial.undo.enter_context(trial.patch.context())
    put = GenerationStore.put

    def removed(self: GenerationStore, *pair: Any, **options: Any) -> Path:
        folder = put(self, *pair, **options)
        (folder / KEY).unlink()
        return folder

    patch.setattr(GenerationStore, "put", removed)
    return patch.undo


def _clock_is_behind(trial: Trial) -> Fix:
    patch = trial.undo.enter_context(trial.patch.context())
    now = SystemClock.now
    patch.setattr(SystemClock, "now", lambda self: now(self) - timedelta(hours=2))
    return patch.undo


def _clock_is_ahead(trial: Trial) -> Fix:
    patch = trial.undo.enter_context(trial.patch.context())
    now = SystemClock.now
    patch.setattr(SystemClock, "now", lambda self: now(self) + timedelta(days=2))
    return patch.undo


def _command_fails(trial: Trial) -> Fix:
    trial.configure(command=("false",), prove=())
    return lambda: trial.configure(command=RELOAD)


def _command_is_missing(trial: Trial) -> Fix:
    trial.configure(command=("certagent-has-no-such-program",), prove=())
    return lambda: trial.configure(command=RELOAD)


def _user_is_unknown(trial: Trial) -> Fix:
    trial.configure(user="nobody-has-this", prove=())
    return lambda: trial.configure(user="root")


def _key_is_for_root_alone(trial: Trial) -> Fix:
    trial.configure(reader="nobody")
    return lambda: trial.configure(group="nogroup")


def _mode_leaves_the_group_out(trial: Trial) -> Fix:
    trial.configure(reader="nobody", group="nogroup", mode=0o600)
    return lambda: trial.configure(mode=0o640)


def _key_is_another_s(trial: Trial) -> Fix:
    trial.configure(reader="nobody", owner="daemon")
    return lambda: trial.configure(owner="nobody")


def _reader_is_another(trial: Trial) -> Fix:
    trial.configure(reader="nobody")
    return lambda: trial.configure(reader="root")


def _folder_above_is_closed(trial: Trial) -> Fix:
    trial.configure(reader="nobody", group="nogroup")
    trial.place.folder.chmod(0o700)
    return lambda: trial.place.folder.chmod(0o711)


CASES: list[tuple[str, str, Callable[[Trial], Fix]]] = [
    ("deploy.rolled_back", "", _service_does_not_reload),
    ("deploy.served_old", "deployed", _service_does_not_reload),
    ("deploy.default_certificate", "deployed", _service_shows_its_own),
    ("deploy.not_served", "deployed", _nobody_listens),
    ("deploy.unwritable", "", _kernel_refuses(errno.EACCES)),
    ("deploy.unwritable", "read_only", _kernel_refuses(errno.EROFS)),
    ("deploy.unwritable", "no_folder", _folder_is_missing),
    ("deploy.disk_full", "", _kernel_refuses(errno.ENOSPC)),
    ("deploy.disk_full", "quota", _kernel_refuses(errno.EDQUOT)),
    ("deploy.unsafe_path", "link", _link_is_anothers),
    ("deploy.unsafe_path", "second_name", _file_has_another_name),
    ("deploy.unsafe_path", "strangers", _store_is_a_strangers),
    ("deploy.unmapped_owner", "", _folder_is_foreign),
    ("deploy.unmapped_owner", "unknown", _owner_is_unknown),
    ("deploy.unmapped_owner", "unknown", _reader_is_unknown),
    ("deploy.unmapped_owner", "outside_map", _owner_is_outside_the_map),
    ("deploy.pair_mismatch", "no_pair", _somebody_removes_the_pair),
    ("deploy.not_yet_valid", "", _clock_is_behind),
    ("cert.expired", "staged", _clock_is_ahead),
    ("deploy.reload_failed", "", _command_fails),
    ("deploy.reload_failed", "not_started", _command_is_missing),
    ("deploy.reload_failed", "unknown_user", _user_is_unknown),
    ("deploy.unreadable_by_service", "", _key_is_for_root_alone),
    ("deploy.unreadable_by_service", "", _mode_leaves_the_group_out),
    ("deploy.unreadable_by_service", "", _key_is_another_s),
    ("deploy.unreadable_by_service", "", _reader_is_another),
    ("deploy.unreadable_by_service", "", _folder_above_is_closed),
]
_ANEW = ("tests/agent/test_renewal.py", "test_a_pair_that_is_not_good_is_ordered_anew_when_asked")
_NGINX = ("tests/deployers/test_fixes.py", "test_nginx_takes_the_pair_once_it_is_as_the_fix_says")
_LAB = "tests/e2e/test_deployments.py"
_DRIFT = ("tests/domain/diagnosis/test_drift.py", "test_what_its_fix_says_ends_a_finding")
_HAPROXY = "tests/deployers/test_haproxy_fixes.py"
_STATIC = "tests/vantage/test_static_observation.py"
_DANGLING = (_STATIC, "test_what_nginx_names_is_there_once_it_is_as_the_fix_says")
_STATE = ("tests/agent/test_renewal.py", "test_a_run_that_could_not_write_its_end_is_over_when_it_can")
ELSEWHERE = {  # by tests of their own
    ("deploy.pair_mismatch", ""): _ANEW,
    ("deploy.pair_mismatch", "no_key"): _ANEW,
    ("deploy.chain_incomplete", "no_certificate"): _ANEW,
    ("deploy.chain_incomplete", "wrong_issuer"): _ANEW,
    ("deploy.chain_incomplete", "no_root"): _ANEW,
    ("deploy.san_missing", ""): (_ANEW[0], "test_a_certificate_without_a_wanted_name_is_ordered_anew"),
    ("deploy.validate_failed", ""): _NGINX,
    ("deploy.validate_failed", "not_started"): _NGINX,
    ("deploy.reload_failed", "no_master"): ("tests/deployers/test_nginx.py", "test_a_pid_file_that_names_no_master"),
    ("deploy.unreadable_by_service", "logged"): (
        "tests/deployers/test_nginx.py",
        "test_the_workers_read_the_key_once_its_group_is_theirs",
    ),
    ("deploy.unproven", ""): ("tests/agent/test_nginx_reader.py", "test_a_port_behind_the_proxy_protocol_is_unproven"),
    ("deploy.foreign_folder", ""): (
        "tests/deployers/test_deploy.py",
        "test_another_clients_live_folder_is_never_written",
    ),
    ("deploy.unsafe_path", "exchanged"): (
        "tests/security/test_followed_links.py",
        "test_where_root_alone_can_write_nothing_is_exchanged",
    ),
    ("deploy.put_back", "older"): ("tests/agent/test_live_files.py", "test_a_release_that_is_swung_back_to"),
    ("deploy.put_back", ""): ("tests/agent/test_live_files.py", "test_what_was_lost_is_put_back_told_and_proven"),
    ("deploy.rival_pair", ""): ("tests/agent/test_traefik_reader.py", "test_a_rival_is_over_once_its_entry_is_removed"),
    ("deploy.reload_no_effect", ""): (_LAB, "test_a_reload_that_nginx_does_not_take"),
    ("deploy.traefik_not_loaded", ""): (_LAB, "test_traefik_watches_another_folder"),
    ("deploy.served_old", "rivals"): ("tests/deployers/test_fixes.py", "test_traefik_s_rival_is_removed"),
    ("deploy.pair_mismatch", "live"): _DRIFT,
    ("deploy.world_readable", ""): _DRIFT,
    ("deploy.drift", ""): _DRIFT,
    ("deploy.served_old", "not_named"): (_HAPROXY, "test_a_file_that_no_listener_named_is_served_once_crt_names_it"),
    ("deploy.reload_failed", "no_haproxy"): (_HAPROXY, "test_a_haproxy_that_is_started_takes_it"),
    ("deploy.reload_failed", "runtime_api"): (_HAPROXY, "test_what_the_runtime_api_refused_is_taken"),
    ("deploy.reload_no_effect", "haproxy"): (_HAPROXY, "test_a_reload_is_taken_once_what_its_log_says_is_corrected"),
    ("deploy.validate_failed", "haproxy"): (_HAPROXY, "test_a_line_that_haproxy_rejected_is_corrected"),
    ("deploy.validate_failed", "haproxy_not_started"): (_HAPROXY, "test_a_haproxy_that_is_on_the_path_is_asked"),
    ("deploy.unproven", "haproxy"): (
        "tests/deployers/test_haproxy.py",
        "test_a_bind_that_expects_the_proxy_protocol_is_not_looked_at_without",
    ),
    ("deploy.unproven", "starttls"): ("tests/system/test_starttls.py", "test_a_port_that_begins_without_tls_is_told"),
    ("deploy.drift", "served"): _DRIFT,
    ("deploy.not_served", "drift"): _DRIFT,
    ("deploy.default_certificate", "drift"): _DRIFT,
    ("deploy.dangling_reference", "router"): (_STATIC, "test_a_router_is_right_once_it_is_as_the_fix_says"),
    ("deploy.dangling_reference", "file"): _DANGLING,
    ("deploy.dangling_reference", "include"): _DANGLING,
    ("deploy.dangling_reference", "link"): _DANGLING,
    ("deploy.unwritable", "state"): _STATE,
    ("deploy.disk_full", "state"): _STATE,
    ("deploy.unwritable", "record"): (
        "tests/issuance/test_solvers.py",
        "test_a_record_is_written_once_the_note_about_it_can_be_saved",
    ),
}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """See `open_folder`."""
    with open_folder() as folder:
        yield folder


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """See `open_place`."""
    async with open_place(tmp_path) as opened:
        yield opened


def test_no_finding_of_a_deployment_is_without_a_fix_and_none_is_untried() -> None:
    """In the table above, or in the test that is named."""
    situations = {(code, name) for code, entry in CATALOGUE.items() for name in entry.situations}
    deploying = {one for one in situations if one[0].startswith("deploy.")}
    assert [one for one in sorted(deploying) if CATALOGUE[one[0]].situations[one[1]].fix is None] == []
    tried = {(code, variant) for code, variant, _ in CASES} | set(ELSEWHERE)
    assert deploying - tried == set()
    assert tried - situations == set()
    for file, test in ELSEWHERE.values():
        tree = ast.parse((TREE / file).read_text(encoding="utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("code", "variant", "break_it"), CASES, ids=[f"{one[0]}-{one[2].__name__}" for one in CASES])
async def test_the_fix_ends_the_failure(
    place: Place, monkeypatch: pytest.MonkeyPatch, code: str, variant: str, break_it: Callable[[Trial], Fix]
) -> None:
    """The same generation, without a new order: first it fails so, then it is in place."""
    with ExitStack() as undo:
        trial = Trial(place, monkeypatch, undo)
        fix = break_it(trial)
        failed = await trial.deploy()
        found = [(finding.code, finding.variant, finding.fix) for finding in deployment_failed("n", "web", failed)]
        assert (code, variant) in [one[:2] for one in found], found
        assert all(told for *_, told in found), found
        fix()
        trial.job.within = 5.0
        assert (await trial.deploy()).is_good
        assert trial.job.settings.certificate.read_bytes() == trial.job.generation.chain_pem


def _command(folder: Path) -> DeployTarget:
    return CommandTarget(certificate=folder / "web.crt", key=folder / "web.key")


def _nginx(folder: Path) -> DeployTarget:
    return NginxTarget(certificate=folder / "web.crt", key=folder / "web.key")


def _traefik(folder: Path) -> DeployTarget:
    return TraefikTarget(dynamic=folder / "dynamic")


def _haproxy(folder: Path) -> DeployTarget:
    return HaproxyTarget(certificate=folder / "web.pem")


KINDS = pytest.mark.parametrize("settings_in", [_command, _nginx, _traefik, _haproxy])
CHANGES: tuple[dict[str, Any], ...] = ({}, {"group": "33"}, {"owner": "1"}, {"mode": 0o400}, {"group": "33"}, {})
AS_CONFIGURED = [(0, 0, 0o600), (0, 33, 0o640), (1, 0, 0o600), (0, 0, 0o400), (0, 33, 0o640), (0, 0, 0o600)]


def _promoted(settings: DeployTarget, generation: Generation) -> tuple[Target, tuple[int, int, int]]:
    """The target, and owner, group and mode of the file with the key that is then live."""
    target = make_target("web", settings, RELOADS)
    folder = target.stage(generation)
    target.promote(generation)
    key = Path(target.live().key_file)
    assert key.resolve().parent == folder.resolve()
    assert generation.key_pem in key.read_bytes()
    found = key.stat()
    return target, (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))


@KINDS
def test_what_is_staged_is_as_configured_each_time(tmp_path: Path, settings_in: Callable[[Path], DeployTarget]) -> None:
    """For every deployer: another owner, group or mode is another folder, and the one before is left as it was."""
    (tmp_path / "dynamic").mkdir()
    settings, generation = settings_in(tmp_path), Authority().issue(NAME).generation()
    seen = []
    for change in CHANGES:
        target, found = _promoted(msgspec.structs.replace(settings, **change), generation)
        seen.append(found)
        target.settle(generation)
    assert seen == AS_CONFIGURED


@KINDS
def test_what_changed_after_a_failure_is_applied_by_the_next_try(
    tmp_path: Path, settings_in: Callable[[Path], DeployTarget]
) -> None:
    """For every deployer: the same generation again, after it was rolled back; the pair from before stays as it is."""
    (tmp_path / "dynamic").mkdir()
    settings = settings_in(tmp_path)
    before, renewed = Authority().issue_generations(2, NAME)
    target, _ = _promoted(settings, before)
    target.settle(before)
    seen = []
    for change in CHANGES:
        target, found = _promoted(msgspec.structs.replace(settings, **change), renewed)
        seen.append(found)
        assert target.roll_back() == RollbackResult(before.facts.fingerprint)
        assert stat.S_IMODE(Path(target.live().key_file).stat().st_mode) == 0o600
    assert seen == AS_CONFIGURED


async def test_nginx_takes_the_pair_once_it_is_as_the_fix_says(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is not there, then a line that it refuses, then neither."""
    programs = place.folder / "bin"
    programs.mkdir()
    monkeypatch.setattr("certagent.deployers.nginx._BOOTED_BY_SYSTEMD", programs / "none")
    monkeypatch.setenv("PATH", str(programs))
    generation = place.private.issue(NAME).generation()
    settings = NginxTarget(certificate=place.certificate, key=place.key)

    async def deploy_to_nginx() -> list[tuple[str, str]]:
        deployer = Deployer((NAME,), read_roots((place.folder / "root.crt").read_bytes()), SystemClock())
        target = make_target("web", settings, RELOADS)
        deployment = await deployer.deploy(target, generation, _unproven)
        return [(fault.code, fault.variant) for fault in deployment.faults]

    assert ("deploy.validate_failed", "not_started") in await deploy_to_nginx()
    nginx = programs / "nginx"
    nginx.write_text(
        "#!/bin/sh\necho 'nginx: [emerg] unknown directive \"lissten\" in /etc/nginx/nginx.conf:4'\nexit 1\n"
    )
    nginx.chmod(0o755)
    assert ("deploy.validate_failed", "") in await deploy_to_nginx()
    nginx.write_text("#!/bin/sh\n")
    assert await deploy_to_nginx() == []


async def _unproven(wanted: WantedCertificate) -> Proof:
    return Proof(fingerprint=wanted.fingerprint, endpoints=())


async def test_traefik_s_rival_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its API lists two certificates for the name, then one."""
    (tmp_path / "dynamic").mkdir()
    generation = Authority().issue(NAME).generation()
    loaded = [Loaded(cert_fingerprint=print_, sans=(NAME,)) for print_ in (generation.facts.fingerprint, "f" * 64)]

    async def list_loaded(_: str) -> tuple[Loaded, ...]:
        return tuple(loaded)

    monkeypatch.setattr("certagent.deployers.traefik.loaded_certificates", list_loaded)
    target = make_target("web", TraefikTarget(dynamic=tmp_path / "dynamic", api="http://127.0.0.1:8080"), RELOADS)
    proof = Proof(fingerprint=generation.facts.fingerprint, endpoints=())
    (fault,) = await target.explain(generation, proof)
    assert (fault.code, fault.variant) == ("deploy.served_old", "rivals")
    loaded.pop()
    assert await target.explain(generation, proof) == []
