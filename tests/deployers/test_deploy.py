"""Deployments to a real TLS server that reads its files when it is told to, by a real signal."""

import asyncio
import errno
import os
import signal
import ssl
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certagent.config import CommandTarget, DeployTarget, HaproxyTarget, NginxTarget, TraefikTarget
from certagent.deployers.command import CommandService
from certagent.deployers.deploy import Deployer, make_target
from certagent.deployers.generation_store import GenerationStore
from certagent.domain.certificates import read_roots
from certagent.domain.deployments import Deployment, DeploymentOutcome, Fault, Proof, WantedCertificate
from certagent.domain.diagnosis.order_result import fault_found
from certagent.proof import Prover, Trust
from certagent.system.clock import SystemClock
from tests.certificates import UNREADABLE_NAMES, Authority, Pair
from tests.deployers import dies_at
from tests.deployers.dies_at import Job, deploy
from tests.deployers.place import NAME, RELOAD, Place, open_folder, open_place
from tests.deployers.reloads import RELOADS
from tests.warm import warm_certagent

pytestmark = pytest.mark.slow

SHORT = 0.0  # one look, for as long as a look may take


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


def _codes(deployment: Deployment) -> list[str]:
    return [fault.code for fault in deployment.faults]


async def test_files_that_were_there_are_taken_over_and_the_new_pair_is_proven(place: Place) -> None:
    """Each step is timed; the paths stay what they were for the service."""
    job = place.job()
    deployment = await deploy(job)
    assert deployment.outcome is DeploymentOutcome.PROVEN
    assert [step.name for step in deployment.steps] == ["stage", "promote", "validate", "reload", "prove", "settle"]
    assert deployment.proof is not None
    assert deployment.proof.is_proven
    assert place.certificate.read_bytes() == job.generation.chain_pem
    assert place.key.read_bytes() == job.generation.key_pem
    assert stat.S_IMODE(place.key.stat().st_mode) == 0o600
    kept = place.folder / ".certagent-web" / "0"
    assert (kept / "privkey.pem").read_bytes() == place.old.key_pem
    assert stat.S_IMODE((kept / "privkey.pem").stat().st_mode) == 0o600


async def test_a_renewal_is_one_link(place: Place) -> None:
    """Old generations go, the one from before and the newest stay."""
    for number in range(1, 5):
        assert (await deploy(place.job(number))).is_good
    shelf = place.folder / ".certagent-web"
    assert os.readlink(shelf / "current") == os.readlink(shelf / "proven") == "4"
    assert sorted(path.name for path in shelf.iterdir()) == ["0", "3", "4", "current", "proven"]


@pytest.mark.parametrize("left", ["privkey.pem", "fullchain.pem"])
async def test_what_a_killed_removal_left_goes_with_the_same_generation_again(place: Place, left: str) -> None:
    """Half a generation is none of the newest, however lately it was changed: no key stays for long."""
    for number in range(1, 4):
        assert (await deploy(place.job(number))).is_good
    half = place.folder / ".certagent-web" / "2"
    (half / ({"privkey.pem", "fullchain.pem"} - {left}).pop()).unlink()
    assert (await deploy(place.job(4))).is_good
    assert sorted(path.name for path in half.parent.iterdir()) == ["0", "3", "4", "current", "proven"]


async def test_the_key_is_for_its_group_when_one_is_meant(place: Place) -> None:
    """0640 then, and 0600 otherwise; the certificate is for everybody."""
    assert (await deploy(place.job(group="33"))).is_good
    found = place.key.stat()
    assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (33, 0o640)
    assert stat.S_IMODE(place.certificate.stat().st_mode) == 0o644


async def test_the_key_has_the_mode_that_is_configured(place: Place) -> None:
    """From the first byte on, whatever the group is."""
    assert (await deploy(place.job(mode=0o400))).is_good
    assert stat.S_IMODE(place.key.stat().st_mode) == 0o400


async def test_a_key_that_its_service_cannot_read_never_goes_live(place: Place) -> None:
    """As the kernel says it for that very user; with the group it is in, it can."""
    deployment = await deploy(place.job(reader="nobody"))
    assert (deployment.outcome, _codes(deployment)) == (DeploymentOutcome.FAILED, ["deploy.unreadable_by_service"])
    assert place.certificate.read_bytes() == place.old.chain_pem
    assert (await deploy(place.job(2, reader="nobody", group="nogroup"))).is_good


async def test_the_command_runs_as_its_user_with_a_clean_environment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the agent's own gets there."""
    monkeypatch.setenv("SECRET", "of the agent")
    noted = place.folder / "noted"
    noted.touch()
    noted.chmod(0o666)
    command = ("sh", "-c", f"id -u > {noted}; env | cut -d= -f1 | sort >> {noted}")
    await deploy(place.job(command=command, user="nobody", within=SHORT))
    user, *variables = noted.read_text().split()
    assert user == "65534"
    assert set(variables) <= {"LANG", "PATH", "PWD", "SHLVL", "_", "OLDPWD"}


async def test_a_command_is_bounded_in_time(place: Place) -> None:
    """And said so."""
    deployment = await deploy(place.job(command=("sleep", "60"), timeout=0.05, within=SHORT))
    assert _said(deployment.faults[0]).endswith("sleep 60 did not finish within 0.05 s: it printed nothing")


async def test_a_reload_without_effect_is_rolled_back_and_that_is_proven(place: Place) -> None:
    """The command said that all was well."""
    deployment = await deploy(place.job(command=("true",), within=SHORT))
    assert deployment.outcome is DeploymentOutcome.ROLLED_BACK
    assert _codes(deployment) == ["deploy.served_old", "deploy.rolled_back"]
    assert f"(process {os.getpid()}) listens there" in _said(deployment.faults[0])
    assert deployment.restored is not None
    assert deployment.restored.is_proven
    assert "is served again" in _said(deployment.faults[-1])
    assert place.certificate.read_bytes() == place.old.chain_pem
    assert place.key.read_bytes() == place.old.key_pem
    assert (await deploy(place.job())).outcome is DeploymentOutcome.PROVEN


async def test_what_a_failed_command_said_is_told(place: Place) -> None:
    """Beside what was seen."""
    deployment = await deploy(place.job(command=("sh", "-c", "echo no such service; exit 5"), within=SHORT))
    assert _codes(deployment) == ["deploy.reload_failed", "deploy.served_old", "deploy.rolled_back"]
    assert _said(deployment.faults[0]).endswith("exited with status 5: no such service")
    missing = await deploy(place.job(command=("certagent-has-no-such-program",), within=SHORT))
    assert _said(missing.faults[0]).endswith("cannot be started (No such file or directory).")


async def test_a_failed_command_does_not_matter_when_the_new_pair_is_served(place: Place) -> None:
    """Exit codes are not evidence."""
    deployment = await deploy(place.job(command=(*RELOAD[:2], f"{RELOAD[2]}; exit 1")))
    assert (deployment.outcome, deployment.faults) == (DeploymentOutcome.PROVEN, ())


async def test_a_service_that_refuses_its_configuration_keeps_the_old_pair(place: Place) -> None:
    """It is not even reloaded."""
    job = place.job()
    target = Refusing("web", job.settings, RELOADS)
    deployer = Deployer(job.identifiers, read_roots(job.root.read_bytes()), SystemClock())
    deployment = await deployer.deploy(target, job.generation, _prover(job))
    assert deployment.outcome is DeploymentOutcome.ROLLED_BACK
    assert _codes(deployment) == ["deploy.validate_failed", "deploy.rolled_back"]
    assert place.certificate.read_bytes() == place.old.chain_pem


def _command(settings: CommandTarget) -> CommandService:
    return CommandService("web", settings, RELOADS)


class Refusing(CommandService):
    """A service that does not accept what is live."""

    async def validate(self) -> Fault | None:
        """In the service's own words."""
        return Fault(code="deploy.validate_failed")


def _prover(job: Job) -> Any:
    prover = Prover(job.root, SystemClock())

    async def prove(wanted: WantedCertificate) -> Proof:
        trust = Trust(is_needed=not wanted.is_restored)
        within = timedelta(seconds=job.within)
        return await prover.prove(wanted.fingerprint, job.settings.prove, job.identifiers, within, trust=trust)

    return prove


async def test_where_nothing_was_before_the_new_pair_stays(place: Place) -> None:
    """It is the better of the two; the failure is told."""
    place.certificate.unlink()
    place.key.unlink()
    job = place.job(command=("true",), within=SHORT)
    deployment = await deploy(job)
    assert deployment.outcome is DeploymentOutcome.FAILED
    assert place.certificate.read_bytes() == job.generation.chain_pem


async def test_half_a_pair_is_kept_aside(place: Place) -> None:
    """A key without a certificate is not ours to lose."""
    place.certificate.unlink()
    assert (await deploy(place.job())).is_good
    assert (place.folder / ".certagent-web" / "before.web.key").read_bytes() == place.old.key_pem


@pytest.mark.parametrize("names", UNREADABLE_NAMES)
async def test_a_certificate_that_cannot_be_read_is_replaced_or_gone_back_to(place: Place, names: bytes) -> None:
    """Somebody put it there, and it is served: it has no facts, its key fits, and it is proven by its fingerprint."""
    theirs = place.private.issue(NAME, names_der=names)
    place.certificate.write_bytes(theirs.chain_pem)
    place.key.write_bytes(theirs.key_pem)
    place.reload()
    live = _command(place.job().settings).live()
    assert (live.facts, live.key_fits) == (None, True)
    deployment = await deploy(place.job(command=("true",), within=SHORT))
    assert _codes(deployment) == ["deploy.served_old", "deploy.rolled_back"]
    assert deployment.restored is not None
    assert deployment.restored.is_proven
    assert (await deploy(place.job())).outcome is DeploymentOutcome.PROVEN


async def test_without_an_endpoint_it_is_in_place_but_unproven(place: Place) -> None:
    """And says so."""
    job = place.job(prove=())
    deployment = await deploy(job)
    assert deployment.outcome is DeploymentOutcome.UNPROVEN
    assert place.certificate.read_bytes() == job.generation.chain_pem


async def test_without_an_endpoint_a_failed_command_is_a_failure(place: Place) -> None:
    """There is nothing else to judge by: the pair from before is back, and the next attempt may do better."""
    for command in (("false",), ("sleep", "60"), ("certagent-has-no-such-program",)):
        deployment = await deploy(place.job(prove=(), command=command, timeout=0.2))
        assert (deployment.outcome, deployment.is_good) == (DeploymentOutcome.ROLLED_BACK, False)
        assert _codes(deployment) == ["deploy.reload_failed", "deploy.rolled_back"]
        assert place.certificate.read_bytes() == place.old.chain_pem
    assert (await deploy(place.job(prove=()))).outcome is DeploymentOutcome.UNPROVEN


async def test_key_and_certificate_may_lie_apart(place: Place) -> None:
    """Then the key's link is absolute."""
    (place.folder / "private").mkdir()
    apart = place.folder / "private" / "web.key"
    place.key.rename(apart)
    place.key.symlink_to(apart)
    job = place.job()
    job.settings = msgspec.structs.replace(job.settings, key=apart)
    assert (await deploy(job)).is_good
    assert os.readlink(apart) == str(place.folder / ".certagent-web" / "current" / "privkey.pem")
    assert apart.read_bytes() == job.generation.key_pem


@pytest.mark.parametrize("write", ["through the link", "over the link"])
async def test_what_somebody_else_wrote_is_gone_back_to_or_replaced(place: Place, write: str) -> None:
    """A `cp` follows the link and changes our generation; a rename replaces the link."""
    job = place.job()
    assert (await deploy(job)).is_good
    theirs = place.private.issue(NAME)
    for path, content in ((place.certificate, theirs.chain_pem), (place.key, theirs.key_pem)):
        if write == "over the link":
            path.unlink()
        path.write_bytes(content)
    place.reload()
    assert (await deploy(job)).outcome is DeploymentOutcome.PROVEN
    assert place.certificate.read_bytes() == job.generation.chain_pem
    assert place.key.read_bytes() == job.generation.key_pem


@pytest.mark.parametrize(
    ("code", "spoil"),
    [
        ("deploy.pair_mismatch", lambda place, pair: msgspec.structs.replace(pair, key_pem=place.old.key_pem)),
        ("deploy.pair_mismatch", lambda _, pair: msgspec.structs.replace(pair, key_pem=b"nonsense")),
        ("deploy.chain_incomplete", lambda _, pair: msgspec.structs.replace(pair, chain_pem=b"nonsense")),
        ("deploy.chain_incomplete", lambda *_: Authority("Other").issue(NAME)),
        ("deploy.chain_incomplete", lambda place, pair: _out_of_order(pair, place.old)),
        ("deploy.san_missing", lambda place, _: place.private.issue("other.internal")),
        ("deploy.not_yet_valid", lambda place, _: place.private.issue(NAME, not_before=_hours(1))),
        ("cert.expired", lambda place, _: place.private.issue(NAME, not_before=_hours(-30))),
    ],
)
async def test_a_pair_that_is_not_good_never_goes_live(place: Place, code: str, spoil: Any) -> None:
    """Whatever is wrong with it."""
    job = place.job()
    pair = spoil(place, place.private.issue(NAME))
    job.generation = msgspec.structs.replace(job.generation, key_pem=pair.key_pem, chain_pem=pair.chain_pem)
    deployment = await deploy(job)
    assert deployment.outcome is DeploymentOutcome.FAILED
    assert _codes(deployment)[0] == code
    assert deployment.steps[-1].name == "stage"
    assert place.certificate.read_bytes() == place.old.chain_pem
    assert not place.certificate.is_symlink()


def _hours(hours: int) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


def _out_of_order(pair: Pair, other: Pair) -> Pair:
    leaf = pair.chain_pem.split(b"-----END CERTIFICATE-----\n")[0] + b"-----END CERTIFICATE-----\n"
    return msgspec.structs.replace(pair, chain_pem=leaf + other.chain_pem)


async def test_an_owner_that_is_not_there(place: Place) -> None:
    """Nothing is written for nobody."""
    deployment = await deploy(place.job(group="nobody-has-this"))
    assert (deployment.outcome, _codes(deployment)) == (DeploymentOutcome.FAILED, ["deploy.unmapped_owner"])
    assert place.certificate.read_bytes() == place.old.chain_pem


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "deploy.disk_full"),
        (errno.EDQUOT, "deploy.disk_full"),
        (errno.EACCES, "deploy.unwritable"),
        (errno.EROFS, "deploy.unwritable"),
    ],
)
async def test_what_the_disk_refuses(place: Place, monkeypatch: pytest.MonkeyPatch, number: int, code: str) -> None:
    """With the kernel's own name for it; the old pair stays."""

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number), "/the/file")

    monkeypatch.setattr(os, "fsync", refuse)
    deployment = await deploy(place.job())
    assert (deployment.outcome, _codes(deployment)) == (DeploymentOutcome.FAILED, [code])
    assert deployment.faults[0].detail == {"errno": errno.errorcode[number]}
    assert deployment.faults[0].file == "/the/file"
    assert place.certificate.read_bytes() == place.old.chain_pem


async def test_a_missing_folder_is_said_so(place: Place) -> None:
    """Nothing is made that nobody asked for."""
    job = place.job()
    job.settings = msgspec.structs.replace(job.settings, certificate=place.folder / "none" / "web.crt")
    deployment = await deploy(job)
    assert (deployment.outcome, _codes(deployment)) == (DeploymentOutcome.FAILED, ["deploy.unwritable"])
    assert not (place.folder / "none").exists()


async def test_a_proof_that_cannot_be_recorded_is_tried_again_and_no_fault_is_left(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder vanished between the proof and its record: the new pair is served, and the deployment has failed."""
    job = place.job()
    settle = GenerationStore.settle

    def fail(self: GenerationStore, folder: Path) -> None:
        if folder.name == str(job.generation.number):  # not for what was there before
            raise FileNotFoundError(2, "No such file or directory", str(folder))
        settle(self, folder)

    with monkeypatch.context() as patched:
        patched.setattr(GenerationStore, "settle", fail)
        deployment = await deploy(job)
    assert (deployment.outcome, _codes(deployment)) == (DeploymentOutcome.FAILED, ["deploy.unwritable"])
    assert place.certificate.read_bytes() == job.generation.chain_pem
    again = await deploy(job)
    assert (again.outcome, _codes(again)) == (DeploymentOutcome.PROVEN, [])


async def test_what_cannot_be_written_is_known_before_anything_is_ordered(place: Place) -> None:
    """Nothing live is touched by asking."""
    job = place.job()
    deployer = Deployer(job.identifiers, read_roots(job.root.read_bytes()), SystemClock())
    assert await deployer.prepare(_command(job.settings)) == []
    assert not place.certificate.is_symlink()
    elsewhere = msgspec.structs.replace(job.settings, key=Path("/proc/self/web.key"))
    (fault,) = await deployer.prepare(_command(elsewhere))
    assert (fault.code, fault.file) == ("deploy.unwritable", "/proc/self")
    (fault,) = await deployer.prepare(_command(msgspec.structs.replace(job.settings, owner="nobody-has-this")))
    assert fault.code == "deploy.unmapped_owner"


@pytest.mark.parametrize("step", ["stage", "promote", "validate", "reload", "prove", "settle"])
async def test_killed_at_any_step_it_is_done_again_and_proven(place: Place, step: str) -> None:
    """By the kernel; what is on disk matches in between."""
    job = place.job()
    (place.folder / "job.json").write_bytes(msgspec.json.encode(job, enc_hook=str))
    words = (step, str(place.folder / "job.json"))
    child = await asyncio.to_thread(warm_certagent().run, *words, module=dies_at.__name__)
    assert child.returncode == -signal.SIGKILL
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(place.certificate, place.key)
    assert (await deploy(job)).outcome is DeploymentOutcome.PROVEN


def _said(fault: Fault) -> str:
    return fault_found("lxc101", fault).explanation


@pytest.mark.parametrize("is_linked", [False, True])
async def test_another_clients_live_folder_is_never_written(place: Place, tmp_path: Path, is_linked: bool) -> None:
    """Neither before an order nor after it, named or led to by a link; a folder of its own beside it is written."""
    job = place.job()
    live = tmp_path / "letsencrypt" / "live" / "web"
    live.mkdir(parents=True)
    files = live / "fullchain.pem", live / "privkey.pem"
    files[0].write_bytes(job.generation.chain_pem)
    files[1].write_bytes(job.generation.key_pem)
    if is_linked:
        linked = tmp_path / "ssl"
        linked.mkdir()
        for file in files:
            (linked / file.name).symlink_to(file)
        files = linked / files[0].name, linked / files[1].name
    foreign = msgspec.structs.replace(job.settings, certificate=files[0], key=files[1])
    deployer = Deployer(job.identifiers, read_roots(job.root.read_bytes()), SystemClock())
    (fault,) = await deployer.prepare(_command(foreign))
    assert (fault.code, fault.file, fault.facts["owner"]) == ("deploy.foreign_folder", str(files[0]), "certbot")
    deployment = await deploy(msgspec.structs.replace(job, settings=foreign))
    assert (deployment.outcome, _codes(deployment)) == (DeploymentOutcome.FAILED, ["deploy.foreign_folder"])
    assert sorted(path.name for path in live.iterdir()) == ["fullchain.pem", "privkey.pem"]
    assert files[0].is_symlink() == is_linked
    assert (await deploy(job)).outcome == DeploymentOutcome.PROVEN


def _nginx_in(live: Path, _: Path) -> DeployTarget:
    return NginxTarget(certificate=live / "fullchain.pem", key=live / "privkey.pem")


def _haproxy_in(live: Path, _: Path) -> DeployTarget:
    return HaproxyTarget(certificate=live / "web.pem")


def _traefik_in(live: Path, folder: Path) -> DeployTarget:
    return TraefikTarget(dynamic=folder, certificates=live)


@pytest.mark.parametrize("settings_in", [_nginx_in, _haproxy_in, _traefik_in])
@pytest.mark.parametrize(
    ("live", "owner"),
    [
        ("srv/.lego/certificates", "lego"),
        ("root/.acme.sh/web.internal_ecc", "acme.sh"),
        ("data/custom_ssl/npm-1", "Nginx Proxy Manager"),
        ("etc/letsencrypt/live/npm-1", "Nginx Proxy Manager"),
        ("data/caddy/certificates/local/web.internal", "Caddy"),
        ("etc/letsencrypt/live/web", "certbot"),
    ],
)
async def test_no_deployer_writes_in_another_clients_live_folder(
    tmp_path: Path, settings_in: Callable[[Path, Path], DeployTarget], live: str, owner: str
) -> None:
    """Before an order and after it: nothing is added, nothing changed. A folder beside it is written."""
    private, folder, dynamic = Authority(), tmp_path / live, tmp_path / "dynamic"
    own = tmp_path / "own"
    for path in (folder, dynamic, own):
        path.mkdir(parents=True)
    (folder / "theirs.pem").write_text("theirs")
    generation = private.issue(NAME).generation()
    deployer = Deployer((NAME,), read_roots(private.root_pem), SystemClock())
    target = make_target("web", settings_in(folder, dynamic), RELOADS)
    (fault,) = await deployer.prepare(target)
    assert (fault.code, fault.facts["owner"]) == ("deploy.foreign_folder", owner)
    proven = Proof(fingerprint=generation.facts.fingerprint, endpoints=())

    async def prove(_: WantedCertificate) -> Proof:
        return proven

    deployment = await deployer.deploy(target, generation, prove)
    assert (deployment.outcome, _codes(deployment)) == (DeploymentOutcome.FAILED, ["deploy.foreign_folder"])
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("theirs.pem", "theirs")]
    assert list(dynamic.iterdir()) == []
    assert await deployer.prepare(make_target("web", settings_in(own, dynamic), RELOADS)) == []
