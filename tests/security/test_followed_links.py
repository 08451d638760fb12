"""Root follows nobody: a link is followed where root alone can have put it, and nowhere else.

Whoever owns a folder in which root writes may put there what they like: links, hard links, folders of their own.
Beside each refusal stands what has to go on working.
"""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from certagent.agent.control_socket import serve
from certagent.commands import UnableError
from certagent.commands.fix import _read_text, apply_plan
from certagent.config import CommandTarget, DeployTarget, NginxTarget, TraefikTarget
from certagent.deployers.deploy import Deployer, make_target
from certagent.domain.deployments import Fault
from certagent.domain.diagnosis.http01 import responder_is_absent
from certagent.domain.orders import Challenge, Status
from certagent.domain.rehearsals import RehearsalRequest
from certagent.issuance.order import NotPresentedError
from certagent.issuance.solvers.webroot import Webroot
from certagent.state import State
from certagent.system import files
from certagent.system.clock import SystemClock
from certagent.system.files import FileContent, Owner
from certagent.system.path_walk import open_folder, read_linked
from certagent.system.regular_files import read_within
from certagent.system.unsafe_paths import UnsafePathError
from certagent.vantage.imported_renewals import read_renewals
from tests.certificates import Authority
from tests.commands.resolver import HEALTHY, make_root, plan_for
from tests.deployers.killed import spare_the_disk
from tests.deployers.reloads import RELOADS
from tests.evidence import make_evidence
from tests.fakes.stores import MemoryJournal
from tests.security.elsewhere import OWNER, SECRET, Elsewhere, owned_folder

NAME = "web.internal"
GENERATIONS = list(Authority().issue_generations(5, NAME))
STRANGER = 65534


class Scene(NamedTuple):
    """A folder that belongs to www-data, root's own one beside it, and what lies outside."""

    owned: Path
    roots: Path
    elsewhere: Elsewhere


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """See `spare_the_disk`."""
    monkeypatch.setattr("os.fsync", spare_the_disk)


@pytest.fixture
def scene() -> Iterator[Scene]:
    """In the end nothing of what lies outside was changed, read or removed."""
    with owned_folder() as (owned, elsewhere):
        (owned.parent / "roots").mkdir()
        yield Scene(owned, owned.parent / "roots", elsewhere)
        elsewhere.assert_untouched()


def _command(folder: Path) -> DeployTarget:
    return CommandTarget(certificate=folder / "web.crt", key=folder / "web.key")


def _nginx(folder: Path) -> DeployTarget:
    return NginxTarget(certificate=folder / "web.crt", key=folder / "web.key")


def _traefik(folder: Path) -> DeployTarget:
    return TraefikTarget(dynamic=folder / "dynamic")


KINDS = pytest.mark.parametrize("settings_in", [_command, _nginx, _traefik])


def _give(path: Path, uid: int = OWNER) -> Path:
    os.chown(path, uid, uid, follow_symlinks=False)
    return path


def _make_dynamic(folder: Path) -> Path:
    (folder / "dynamic").mkdir(parents=True, exist_ok=True)
    return folder


def _deploy(settings: DeployTarget, last: int = 1, first: int = 1) -> None:
    target = make_target("web", settings, RELOADS)
    for generation in GENERATIONS[first - 1 : last]:
        target.stage(generation)
        target.promote(generation)
        target.settle(generation)


def _is_live(settings: DeployTarget, number: int) -> bool:
    live = make_target("web", settings, RELOADS).live()
    return live.fingerprint == GENERATIONS[number - 1].facts.fingerprint and live.key_fits


def _fault(settings: DeployTarget) -> Fault:
    """What the preflight finds."""
    (fault,) = asyncio.run(Deployer((NAME,), (), SystemClock()).prepare(make_target("web", settings, RELOADS)))
    return fault


def _assert_refused(fault: Fault, variant: str, file: Path, folder: Path, owner: str, mode: str) -> None:
    assert (fault.code, fault.variant, fault.file) == ("deploy.unsafe_path", variant, str(file))
    assert fault.facts["folder"] == str(folder)
    assert (fault.facts["owner"], fault.facts["mode"]) == (owner, mode)


# --- targets ------------------------------------------------------------------------------------------------------


@KINDS
def test_a_services_own_folder_is_deployed_to(scene: Scene, settings_in: Callable[[Path], DeployTarget]) -> None:
    """With owner and mode as configured, generations by rename, the older ones dropped; nothing is given away."""
    _give(_make_dynamic(scene.owned) / "dynamic")
    settings = settings_in(scene.owned)
    _deploy(settings, 5)
    assert _is_live(settings, 5)
    key = Path(make_target("web", settings, RELOADS).live().key_file)
    assert (key.stat().st_uid, stat.S_IMODE(key.stat().st_mode)) == (0, 0o600)
    store = scene.owned / (".certagent-web" if settings_in is not _traefik else "certagent/web")
    assert {path.name for path in store.iterdir()} - {"current", "proven"} == {"4", "5"}
    assert scene.owned.stat().st_uid == OWNER


@KINDS
def test_a_link_in_the_place_of_the_store_is_refused(scene: Scene, settings_in: Callable[[Path], DeployTarget]) -> None:
    """To a file or to a folder, whose mode stays what it is; who does not meddle is deployed to all the same."""
    for target in (scene.elsewhere.secret, scene.elsewhere.folder, scene.owned / "nothing"):
        folder = scene.owned / target.name
        _give(_make_dynamic(folder) / "dynamic")
        _give(folder)
        settings = settings_in(folder)
        link = folder / (".certagent-web" if settings_in is not _traefik else "certagent")
        _give_link(link, target)
        _assert_refused(_fault(settings), "link", link, scene.owned, "www-data", "0755")
    other = scene.owned / "other"
    _give(_give(_make_dynamic(other)) / "dynamic")
    _deploy(settings_in(other), 2)
    assert _is_live(settings_in(other), 2)


def _give_link(link: Path, target: Path | str) -> None:
    link.symlink_to(target)
    _give(link)


@pytest.mark.parametrize("become", ["a link to a file", "a link to a folder", "a private folder"])
@pytest.mark.parametrize("place", ["target", "webroot"])
def test_a_folder_that_is_exchanged_as_it_is_made_keeps_its_mode(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, place: str, become: str
) -> None:
    """Just then its owner puts another thing in its place; of a private folder no mode is changed either."""
    private = scene.owned / "private"
    private.mkdir(mode=0o700)
    (private / "secret").write_bytes(SECRET)
    real = os.mkdir

    def make(name: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        real(name, mode, dir_fd=dir_fd)
        made = scene.owned / name
        made.rename(scene.owned / "aside")
        if become == "a private folder":
            private.rename(made)
        else:
            made.symlink_to(scene.elsewhere.secret if become == "a link to a file" else scene.elsewhere.folder)

    monkeypatch.setattr(os, "mkdir", make)
    if place == "target":
        fault = _fault(_command(scene.owned))
        assert (fault.code, fault.facts["owner"]) == ("deploy.unsafe_path", "www-data")
        assert fault.variant == ("exchanged" if become == "a private folder" else "link")
    else:
        with pytest.raises(NotPresentedError, match=r"owner www-data, mode 0755"):
            asyncio.run(_present(Webroot(scene.owned, MemoryJournal())))
    kept = private if private.exists() else scene.owned / (".certagent-web" if place == "target" else ".well-known")
    assert stat.S_IMODE(kept.lstat().st_mode) == (0o777 if kept.is_symlink() else 0o700)
    assert [path.name for path in kept.iterdir()] == ["secret"] if not kept.is_symlink() else True


def test_where_root_alone_can_write_nothing_is_exchanged(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the fix says, done: `chown root FOLDER; chmod go-w FOLDER`. The other user tries the same again, as that
    user; the kernel refuses it, and the deployment is in place."""
    private, settings, real = scene.owned / "private", _command(scene.owned), os.mkdir
    _give(private.parent).chmod(0o777)
    private.mkdir(mode=0o700)
    (private / "secret").write_bytes(SECRET)
    tried: list[OSError | None] = []

    def make(name: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        real(name, mode, dir_fd=dir_fd)
        if name == ".certagent-web":
            tried.append(_exchange_as(OWNER, scene.owned / name, private))

    monkeypatch.setattr(os, "mkdir", make)
    _assert_refused(_fault(settings), "exchanged", scene.owned / ".certagent-web", scene.owned, "www-data", "0777")
    (scene.owned / ".certagent-web").rename(private)
    os.chown(scene.owned, 0, 0)
    scene.owned.chmod(0o755)
    assert asyncio.run(Deployer((NAME,), (), SystemClock()).prepare(make_target("web", settings, RELOADS))) == []
    _deploy(settings)
    assert _is_live(settings, 1)
    assert [type(error) for error in tried] == [type(None), PermissionError]


def _exchange_as(uid: int, made: Path, other: Path) -> OSError | None:
    """What that user gets for putting `other` in the place of what was just made."""
    os.seteuid(uid)
    try:
        made.rename(made.with_name("aside"))
        other.rename(made)
    except OSError as error:
        return error
    finally:
        os.seteuid(0)
    return None


@KINDS
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_link_on_the_way_to_a_target_is_refused(
    scene: Scene, settings_in: Callable[[Path], DeployTarget], depth: int
) -> None:
    """At whatever depth below the folder; the finding names the link, whose folder it is in, and what to do."""
    folder = scene.owned
    for level in range(depth):
        folder = folder / f"level{level}"
        folder.mkdir()
    _give_link(folder / "current", scene.elsewhere.folder)
    fault = _fault(settings_in(folder / "current"))
    _assert_refused(fault, "link", folder / "current", scene.owned, "www-data", "0755")


@KINDS
def test_a_link_that_a_group_can_exchange_is_refused(scene: Scene, settings_in: Callable[[Path], DeployTarget]) -> None:
    """The folder is root's; its group's members are not."""
    scene.roots.chmod(0o775)
    _make_dynamic(scene.roots / "real")
    (scene.roots / "current").symlink_to("real")
    _assert_refused(
        _fault(settings_in(scene.roots / "current")), "link", scene.roots / "current", scene.roots, "root", "0775"
    )


@KINDS
@pytest.mark.parametrize("owner", [0, OWNER])
def test_swung_releases_go_on_working(scene: Scene, settings_in: Callable[[Path], DeployTarget], owner: int) -> None:
    """`current -> releases/42` in root's folder, then 43; the release may be the service's own."""
    settings = settings_in(scene.roots / "current")
    for number, release in enumerate(("42", "43"), 1):
        folder = scene.roots / "releases" / release
        _give(_make_dynamic(folder) / "dynamic", owner)
        _give(folder, owner)
        (scene.roots / "new").symlink_to(f"releases/{release}")
        (scene.roots / "new").rename(scene.roots / "current")
        _deploy(settings, number)
        assert _is_live(settings, number)
        made = {path.name for path in (*folder.iterdir(), *(folder / "dynamic").iterdir())} - {"dynamic"}
        assert made - {".certagent-web", "certagent"} in ({"web.crt", "web.key"}, {"certagent-web.yml"})


@pytest.mark.parametrize("link", ["../available/ssl", "absolute", "chain"])
def test_roots_own_links_are_followed(scene: Scene, link: str) -> None:
    """As of `sites-enabled`: relative, absolute, over several links; and into a folder that is the service's."""
    (scene.roots / "enabled").mkdir()
    (scene.roots / "available").mkdir()
    (scene.roots / "available" / "ssl").symlink_to(scene.owned)
    (scene.roots / "first").symlink_to("available")
    target = {"absolute": str(scene.roots / "available/ssl"), "chain": "../first/../first/ssl"}.get(link, link)
    (scene.roots / "enabled" / "ssl").symlink_to(target)
    settings = _command(scene.roots / "enabled" / "ssl")
    _deploy(settings, 2)
    assert _is_live(settings, 2)
    assert (scene.owned / "web.crt").is_symlink()


def test_links_without_end_are_an_error(scene: Scene) -> None:
    """Root's own mistake is none of the finding's."""
    (scene.roots / "round").symlink_to("round")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        open_folder(scene.roots / "round")


# --- a sticky folder, such as /tmp --------------------------------------------------------------------------------


@pytest.fixture
def sticky(scene: Scene) -> Path:
    """Where everybody may put something, and nobody take away what is another's."""
    folder = scene.roots / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@pytest.mark.parametrize("uid", [0, OWNER])
def test_a_link_in_a_sticky_folder_is_refused(scene: Scene, sticky: Path, uid: int) -> None:
    """Whoever it belongs to: root's own may be a hard link of another one."""
    (sticky / "ssl").symlink_to(scene.elsewhere.folder)
    _give(sticky / "ssl", uid)
    _assert_refused(_fault(_command(sticky / "ssl")), "link", sticky / "ssl", sticky, "root", "1777")


def test_roots_own_folder_in_a_sticky_one_is_roots(sticky: Path) -> None:
    """Nobody else can exchange it: links in it are followed."""
    (sticky / "ssl" / "releases").mkdir(parents=True)
    (sticky / "ssl" / "current").symlink_to("releases")
    _deploy(_command(sticky / "ssl" / "current"), 2)
    assert _is_live(_command(sticky / "ssl" / "current"), 2)


def test_a_strangers_folder_in_a_sticky_one_is_not(scene: Scene, sticky: Path) -> None:
    """Who made it first may exchange what is in it, but not have root follow."""
    (sticky / "ssl").mkdir()
    _give(sticky / "ssl", STRANGER)
    _deploy(_command(sticky / "ssl"))
    assert _is_live(_command(sticky / "ssl"), 1)
    _give_link(sticky / "ssl" / "current", scene.elsewhere.folder)
    fault = _fault(_command(sticky / "ssl" / "current"))
    _assert_refused(fault, "link", sticky / "ssl" / "current", sticky / "ssl", "nobody", "0755")


def test_a_store_that_a_stranger_made_is_refused(scene: Scene, sticky: Path) -> None:
    """In a sticky folder it would be theirs to choose what is live; in www-data's own one it is www-data's anyway."""
    for folder, owner in ((sticky, STRANGER), (scene.owned, OWNER)):
        (folder / ".certagent-web").mkdir()
        _give(folder / ".certagent-web", owner)
    store = sticky / ".certagent-web"
    _assert_refused(_fault(_command(sticky)), "strangers", store, store, "nobody", "0755")
    _deploy(_command(scene.owned), 2)
    assert _is_live(_command(scene.owned), 2)


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["link", "hard link"])
def test_what_lies_under_a_temporary_name_is_never_written_through(
    scene: Scene, sticky: Path, link: Callable[[Path, Path], None]
) -> None:
    """In a folder of its own or in a sticky one."""
    for folder in (sticky, scene.owned):
        for name in (".web.crt.new", ".web.key.new", "..certagent-web.new"):
            link(scene.elsewhere.secret, folder / name)
        (folder / ".certagent-web").mkdir()
        _give(folder / ".certagent-web", folder.stat().st_uid)
        for name in (".current.new", ".proven.new", ".1.new"):
            link(scene.elsewhere.secret, folder / ".certagent-web" / name)
        _deploy(_command(folder), 2)
        assert _is_live(_command(folder), 2)


# --- hard links, and what is taken over ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["web.crt", "web.key"])
def test_a_file_of_roots_under_a_second_name_is_not_taken_over(scene: Scene, name: str) -> None:
    """It may be anywhere else as well: nothing is copied."""
    os.link(scene.elsewhere.folder / name, scene.owned / name)
    fault = _fault(_command(scene.owned))
    _assert_refused(fault, "second_name", scene.owned / name, scene.owned, "www-data", "0755")
    assert list((scene.owned / ".certagent-web").iterdir()) == []


@pytest.mark.parametrize("name", ["web.crt", "web.key"])
def test_what_another_users_link_shows_is_not_taken_over(scene: Scene, name: str) -> None:
    """Not even read: what is live there is not known."""
    _give_link(scene.owned / name, scene.elsewhere.folder / name)
    settings = _command(scene.owned)
    _assert_refused(_fault(settings), "link", scene.owned / name, scene.owned, "www-data", "0755")
    if name == "web.crt":
        with pytest.raises(UnsafePathError, match=r"it is a link, and .*owned can be changed by users other than root"):
            make_target("web", settings, RELOADS).live()
    assert list((scene.owned / ".certagent-web").iterdir()) == []


def test_what_is_the_link_owners_own_is_taken_over(scene: Scene) -> None:
    """`web.key -> releases/1/web.key`, all of it www-data's: they could read it before, and it stays theirs."""
    release = scene.owned / "releases"
    release.mkdir()
    _give(release)
    for name, content in (("web.crt", GENERATIONS[0].chain_pem), ("web.key", GENERATIONS[0].key_pem)):
        (release / name).write_bytes(content)
        (release / name).chmod(0o600)
        _give(release / name)
        _give_link(scene.owned / name, f"releases/{name}")
    settings = _command(scene.owned)
    assert _is_live(settings, 1)
    _deploy(settings, 2)
    assert _is_live(settings, 2)
    kept = (scene.owned / ".certagent-web" / "0" / "privkey.pem").stat()
    assert (kept.st_uid, stat.S_IMODE(kept.st_mode)) == (OWNER, 0o600)


def test_a_link_that_the_store_does_not_make_is_not_followed(scene: Scene) -> None:
    """Its owner puts a folder of their own in its place, with links out of it."""
    settings = _command(scene.owned)
    _deploy(settings, 2)
    store = scene.owned / ".certagent-web"
    store.rename(scene.owned / "aside")
    store.mkdir()
    _give(store)
    for name in ("current", "proven"):
        _give_link(store / name, "../../elsewhere/7")
    _give_link(store / "7", scene.elsewhere.folder / "7")
    target = make_target("web", settings, RELOADS)
    assert target.live().facts is None
    assert target.roll_back() is None
    _deploy(settings, 3)
    assert _is_live(settings, 3)


@pytest.mark.parametrize("named", ["elsewhere", "owned/certagent/web/.."])
def test_what_a_services_own_yaml_names_is_not_read(scene: Scene, named: str) -> None:
    """Traefik's user may write there what it likes, any file of root's; in root's folder it is as root wrote it."""
    above = scene.owned.parent
    _give(_make_dynamic(scene.owned) / "dynamic")
    settings = _traefik(scene.owned)
    _deploy(settings)
    yaml = scene.owned / "dynamic" / "certagent-web.yml"
    text = yaml.read_text().replace(f"{above}/owned/certagent/web/1/", f"{above}/{named}/")
    text = text.replace("fullchain.pem", "web.crt").replace("privkey.pem", "web.key")
    yaml.write_text(text)
    assert make_target("web", settings, RELOADS).live().facts is None
    _make_dynamic(scene.roots)
    for name, content in (("web.crt", GENERATIONS[0].chain_pem), ("web.key", GENERATIONS[0].key_pem)):
        (scene.roots / name).write_bytes(content)
    (scene.roots / "dynamic" / yaml.name).write_text(text.replace(f"{above}/{named}/", f"{scene.roots}/"))
    assert _is_live(_traefik(scene.roots), 1)


@pytest.mark.parametrize("name", ["a.conf", "a.json"])
def test_an_import_reads_nothing_of_roots_for_another(scene: Scene, name: str) -> None:
    """`init --import` of a user's folder: a link to their own file is followed, to root's it is noted and left out."""
    conf = "fullchain = /nothing/fullchain.pem\nprivkey = /nothing/privkey.pem\n[[webroot_map]]\nweb.internal = /\n"
    (scene.owned / "renewal").mkdir()
    _give(scene.owned / "renewal")
    (scene.owned / "renewal" / "own").write_text(conf)
    _give(scene.owned / "renewal" / "own")
    _give_link(scene.owned / "renewal" / "b.conf", "own")
    _give_link((scene.owned / "renewal" if name == "a.conf" else scene.owned) / name, scene.elsewhere.secret)
    read = read_renewals(scene.owned)
    assert [renewal.source.name for renewal in read.value] == ["b.conf"]
    assert [
        (Path(one.file).name, "can be changed by users other than root" in one.reason) for one in read.unreadable
    ] == [(name, True)]


def test_a_lock_under_a_second_name_is_left_as_it_is(scene: Scene) -> None:
    """Who holds a lock is written into it."""
    lock = make_target("web", _command(scene.owned), RELOADS).lock_file()
    os.link(scene.elsewhere.secret, lock)
    with pytest.raises(UnsafePathError, match="the file has a second name elsewhere"), files.lock_file(lock, "us"):
        pass


# --- pruning ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", [0, OWNER])
def test_only_what_it_made_is_pruned(scene: Scene, owner: int) -> None:
    """In root's store, and in one that was given away since: folders with other files, links, files stay."""
    settings = _command(scene.owned)
    _deploy(settings)
    store = scene.owned / ".certagent-web"
    for name in ("12/notes.txt", "13/privkey.pem/deep", "14/fullchain.pem", "14/other.pem", "16/privkey.pem", "-1/a"):
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_bytes(b"somebody's")
    _give(store / "16", STRANGER)
    (store / "15").symlink_to(scene.elsewhere.folder / "7")
    (store / "17").write_bytes(b"somebody's")
    before = {path for name in ("12", "13", "14", "15", "16", "17", "-1") for path in (store / name).rglob("*")}
    for path in (store, *store.rglob("*")):
        if path.lstat().st_uid == 0:
            _give(path, owner)
    _deploy(settings, 5)
    assert {path for path in before if not path.exists()} == set()
    assert (store / "15").is_symlink()
    assert {path.name for path in store.iterdir() if len(path.name) == 1} == {"4", "5"}


# --- the webroot --------------------------------------------------------------------------------------------------


async def _present(webroot: Webroot) -> None:
    await webroot.present(NAME, _challenge(), "token.thumbprint")


def _challenge() -> Challenge:
    return Challenge(type="http-01", url="https://ca/challenge", status=Status.PENDING, token="token")


async def test_a_web_servers_own_folder_answers(scene: Scene) -> None:
    """Folders for everybody to enter, a file for everybody to read, and nothing of it afterwards."""
    webroot, challenges = Webroot(scene.owned, MemoryJournal()), scene.owned / ".well-known/acme-challenge"
    await _present(webroot)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (challenges.parent, challenges, challenges / "token")]
    assert modes == [0o755, 0o755, 0o644]
    await webroot.clean_up(NAME, _challenge())
    assert list(challenges.iterdir()) == []


@pytest.mark.parametrize("name", [".well-known", ".well-known/acme-challenge"])
async def test_a_link_in_a_web_servers_own_folder_is_refused(scene: Scene, name: str) -> None:
    """Said before any order, with what to change; nor is anything removed through it."""
    webroot = Webroot(scene.owned, MemoryJournal())
    if name != ".well-known":
        (scene.owned / ".well-known").mkdir()
        _give(scene.owned / ".well-known")
    _give_link(scene.owned / name, scene.elsewhere.folder / name)
    with pytest.raises(NotPresentedError) as raised:
        await _present(webroot)
    assert str(scene.owned / name) in str(raised.value)
    assert f"make that folder writable by root only (chown root {scene.owned}; chmod go-w {scene.owned})" in str(
        raised.value
    )
    await webroot.clean_up(NAME, _challenge())
    request = RehearsalRequest(identifier=NAME, challenge="http-01", token="token", digest="")
    await webroot.show(request, "body")
    check = await webroot.answers(request)
    (finding,) = responder_is_absent(make_evidence(responder=check))
    assert (finding.code, finding.variant) == ("http01.responder_absent", "unsafe_path")
    assert finding.culprit is not None
    assert finding.culprit.file == str(scene.owned / name)
    assert f"can change {scene.owned} (owner www-data, mode 0755)." in finding.explanation
    assert finding.fix is not None
    assert finding.fix.endswith(f"chown root {scene.owned}; chmod go-w {scene.owned}.")


@pytest.mark.parametrize("name", [".well-known", ".well-known/acme-challenge"])
async def test_a_challenge_is_not_removed_elsewhere(scene: Scene, name: str) -> None:
    """The folder is exchanged after the file was written: whatever is called the same stays."""
    webroot = Webroot(scene.owned, MemoryJournal())
    await _present(webroot)
    _give(scene.owned / ".well-known")
    (scene.owned / name).rename(scene.owned / "aside")
    _give_link(scene.owned / name, scene.elsewhere.folder / name)
    await webroot.clean_up(NAME, _challenge())
    assert (scene.elsewhere.folder / name).exists()


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["link", "hard link"])
async def test_a_challenges_file_is_never_another(scene: Scene, link: Callable[[Path, Path], None]) -> None:
    """A link in its place is replaced, and removed as itself."""
    webroot, challenges = Webroot(scene.owned, MemoryJournal()), scene.owned / ".well-known/acme-challenge"
    challenges.mkdir(parents=True)
    for name in ("token", ".token.new"):
        link(scene.elsewhere.secret, challenges / name)
    await _present(webroot)
    assert (challenges / "token").read_bytes() == b"token.thumbprint"
    await webroot.clean_up(NAME, _challenge())
    assert list(challenges.iterdir()) == []


async def test_roots_webroot_may_hold_links(scene: Scene) -> None:
    """`.well-known` leads to where all names answer."""
    (scene.roots / "www").mkdir()
    (scene.roots / "acme").mkdir()
    (scene.roots / "www" / ".well-known").symlink_to("../acme")
    await _present(Webroot(scene.roots / "www", MemoryJournal()))
    assert (scene.roots / "acme/acme-challenge/token").read_bytes() == b"token.thumbprint"


# --- every step ---------------------------------------------------------------------------------------------------

STEPS = ("open", "mkdir", "rename", "symlink", "unlink", "rmdir", "stat", "readlink", "listdir", "fchmod", "fchown")


def _exchange_before(monkeypatch: pytest.MonkeyPatch, step: int, victim: Path, target: Path) -> list[str]:
    """Exchange the victim for a link before that step; answers the steps as they come."""
    seen: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            seen.append(name)
            if len(seen) == step and os.path.lexists(victim):
                real_rename(victim, victim.with_name("aside"))
                real_symlink(target, victim)
            return real(*arguments, **options)

        return call

    real_rename, real_symlink = os.rename, os.symlink
    for name in STEPS:
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("settings_in", [_command, _traefik])
@pytest.mark.parametrize("target", ["secret", "."])
def test_exchanged_before_any_step_nothing_outside_is_touched(
    settings_in: Callable[[Path], DeployTarget], target: str
) -> None:
    """The store, at each thing that a renewal does to the file system."""
    step, steps = 0, 1
    while step < steps:
        step += 1
        with owned_folder() as (owned, elsewhere), pytest.MonkeyPatch.context() as patch:
            settings = settings_in(_make_dynamic(owned))
            _deploy(settings, 2)
            victim = owned / (".certagent-web" if settings_in is _command else "certagent")
            seen = _exchange_before(patch, step, victim, elsewhere.folder / target)
            with suppress(OSError):
                _deploy(settings, 3, first=3)
            patch.undo()
            steps = max(steps, len(seen))
            elsewhere.assert_untouched()
    assert step > 100, "the steps are not seen any more"


# --- fix, init, state, socket -------------------------------------------------------------------------------------


def test_a_resolv_conf_that_is_a_link_is_read(scene: Scene) -> None:
    """As systemd-resolved has it: its folder belongs to its own user. `fix` leaves it to whoever writes it."""
    root = make_root(scene.roots / "node")
    stub = root / "run/systemd/resolve/stub-resolv.conf"
    stub.parent.mkdir(parents=True)
    stub.write_text("nameserver 127.0.0.53\n")
    _give(stub.parent, STRANGER)
    (root / "etc/resolv.conf").unlink()
    (root / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    assert read_within(root, "/etc/resolv.conf").content == b"nameserver 127.0.0.53\n"
    assert read_linked(root / "etc/resolv.conf").content == b"nameserver 127.0.0.53\n"
    assert _read_text(root, "/etc/resolv.conf").leads_to == "/run/systemd/resolve/stub-resolv.conf"


def test_a_hosts_file_in_anothers_folder_is_edited_by_rename_alone(scene: Scene) -> None:
    """In place it would change whatever else has the same inode."""
    root = make_root(scene.roots / "node")
    _give(root / "etc")
    _give(root / "etc/hosts")
    plan = plan_for(root)
    apply_plan(State(root / "state").fixes(), plan, plan.after(), None, root)
    assert (root / "etc/hosts").read_text() == HEALTHY
    assert (root / "etc/hosts").stat().st_uid == OWNER


def test_a_hosts_file_with_a_second_name_in_anothers_folder_is_refused(scene: Scene) -> None:
    """With the folder, its owner and its mode."""
    root = make_root(scene.roots / "node")
    os.link(root / "etc/hosts", scene.roots / "second")
    _give(root / "etc")
    plan = plan_for(root)
    before = (scene.roots / "second").read_bytes()
    with pytest.raises(
        UnableError, match=r"/etc can be changed by users other than root \(owner www-data, mode 0755\)"
    ):
        apply_plan(State(root / "state").fixes(), plan, plan.after(), None, root)
    assert (scene.roots / "second").read_bytes() == before


def test_new_files_are_made_where_nobody_leads_elsewhere(scene: Scene) -> None:
    """As `init --write` makes them: through root's links, with the folders that are missing; never over a link."""
    (scene.roots / "etc").symlink_to("real")
    (scene.roots / "real").mkdir()
    files.create_file(scene.roots / "etc/certagent/agent.toml", "[agent]\n")
    assert (scene.roots / "real/certagent/agent.toml").read_text() == "[agent]\n"
    _give_link(scene.owned / "dynamic", scene.elsewhere.folder)
    with pytest.raises(UnsafePathError, match="it is a link"):
        files.create_file(scene.owned / "dynamic/challenge.yml", "")
    _give_link(scene.owned / "challenge.yml", scene.elsewhere.folder / "new")
    with pytest.raises(FileExistsError):
        files.create_file(scene.owned / "challenge.yml", "")


@pytest.mark.parametrize("place", ["in another's folder", "another's", "a link of another's"])
def test_an_agent_does_not_start_with_a_state_that_others_can_exchange(scene: Scene, place: str) -> None:
    """One sentence: the folder, whose it is, what to do; exit status 2, which systemd does not try again."""
    state = (scene.owned if place == "in another's folder" else scene.roots) / "state"
    if place == "another's":
        state.mkdir()
        _give(state)
    if place == "a link of another's":
        state = scene.owned / "state"
        _give_link(state, scene.elsewhere.folder)
    done = _start(scene.roots, state)
    weak = state if place == "another's" else scene.owned
    assert done.returncode == 2
    assert f"{weak} can be changed by users other than root (owner www-data, mode 0755)" in done.stderr
    assert f"chown root {weak}; chmod go-w {weak}" in done.stderr
    assert done.stderr.count("\n") == 1


def _start(folder: Path, state: Path) -> "subprocess.CompletedProcess[str]":
    Authority().write_root(folder / "root.crt")
    (folder / "agent.toml").write_text(
        f'[agent]\nname = "lxc101"\nstate = "{state}"\nsocket = "{folder}/agent.sock"\n'
        f'[authority]\ndirectory = "https://127.0.0.1:1/acme/acme/directory"\nroot = "{folder}/root.crt"\n'
    )
    command = [sys.executable, "-m", "certagent.entry", "agent", "--config", str(folder / "agent.toml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_state_beside_the_collectors_is_roots(sticky: Path) -> None:
    """On the collector's node: root's folder, sticky, for the collector's group to write (deploy/lxc/apply.sh)."""
    os.chown(sticky, 0, OWNER)
    sticky.chmod(0o1770)
    state = State(sticky / "agent")
    state.write_record("note", {"kept": True})
    assert stat.S_IMODE((sticky / "agent").stat().st_mode) == 0o700
    (sticky / "other").mkdir()
    _give(sticky / "other")
    with pytest.raises(UnsafePathError, match=r"owner www-data"):
        State(sticky / "other")
    with pytest.raises(UnsafePathError, match=r"it must be private"):
        State(sticky)
    assert stat.S_IMODE(sticky.stat().st_mode) == 0o1770, "the collector still gets in"


async def test_a_socket_stays_in_its_folder(scene: Scene) -> None:
    """Wherever the path leads by the time that it is made or removed."""
    folder = scene.owned / "run"
    folder.mkdir()
    _give(folder)
    (folder / "agent.sock").write_bytes(b"a killed agent's")
    async with serve(folder / "agent.sock", None):  # type: ignore[arg-type] # nobody asks
        found = (folder / "agent.sock").stat()
        assert (stat.S_ISSOCK(found.st_mode), stat.S_IMODE(found.st_mode)) == (True, 0o600)
        folder.rename(scene.owned / "aside")
        _give_link(folder, scene.elsewhere.folder)
    assert list((scene.owned / "aside").iterdir()) == []


def test_an_agent_that_is_not_root_follows_its_own_links(scene: Scene) -> None:
    """Its own user's folders are as good as root's to it; a third one's are not."""
    (scene.owned / "real").mkdir()
    _give(scene.owned / "real")
    _give_link(scene.owned / "current", "real")
    (scene.owned / "theirs").mkdir()
    (scene.owned / "theirs" / "current").symlink_to("../real")
    _give(scene.owned / "theirs", STRANGER)
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(OWNER)
        os.setuid(OWNER)
        files.write_file(scene.owned / "current" / "web.crt", FileContent(content=b"own"))
        try:
            files.write_file(scene.owned / "theirs" / "current" / "web.key", FileContent(content=b"own"))
        except UnsafePathError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert (scene.owned / "real" / "web.crt").read_bytes() == b"own"
    assert Owner(OWNER, OWNER) == read_linked(scene.owned / "real" / "web.crt").owner
