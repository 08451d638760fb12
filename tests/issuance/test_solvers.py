"""The solvers that listen nowhere: a web server's folder, a thumbprint in its configuration, a program for DNS."""

import asyncio
import functools
import hashlib
import http.server
import os
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from josepy.b64 import b64encode
from josepy.jwk import JWKEC

from certagent.config import HookSolver, Rfc2136Solver
from certagent.domain.dns01_record import TxtAnswer, text_of
from certagent.domain.orders import Account, Challenge, Failed, Issued, Status
from certagent.domain.rehearsals import CHALLENGE_PATH, RehearsalRequest
from certagent.issuance.acme_client import AcmeClient
from certagent.issuance.keys import ensure_account, thumbprint
from certagent.issuance.order import CertificateRequest, NotPresentedError, OrderProcedure
from certagent.issuance.solvers import dns01_update
from certagent.issuance.solvers.dns01_program import Dns01Program, HookRecord
from certagent.issuance.solvers.dns01_update import Dns01Updater
from certagent.issuance.solvers.stateless import Stateless, snippet
from certagent.issuance.solvers.webroot import Webroot
from certagent.system.clock import SystemClock
from certagent.system.dns_update import UpdateAnswer
from certagent.system.zones import ZoneAnswer
from tests.fakes.stores import MemoryAccounts, MemoryJournal, MemoryOrders
from tests.issuance.conftest import StepCa

WANTED = CertificateRequest(identifiers=("localhost", "127.0.0.1"), key_type="ecdsa-p256")


def _request(identifier: str, token: str, body: str, kind: str = "http-01") -> RehearsalRequest:
    digest = hashlib.sha256(body.encode()).hexdigest()
    return RehearsalRequest(identifier=identifier, challenge=kind, token=token, digest=digest)


def _challenge(token: str) -> Challenge:
    return Challenge(type="http-01", url="https://ca/challenge", status=Status.PENDING, token=token)


# --- webroot ------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(step_ca: StepCa, tmp_path: Path) -> Iterator[Path]:
    """A folder that a web server of another make serves on the port that the CA asks."""
    root = tmp_path / "www"
    root.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", step_ca.challenge_port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="web server")
        thread.start()
        yield root
        server.shutdown()
        thread.join()


async def test_a_web_servers_folder_answers_the_ca(authority: AcmeClient, orders: MemoryOrders, served: Path) -> None:
    """A name and an address; nothing is left in the folder, nor in the journal."""
    journal = MemoryJournal()
    issued = await OrderProcedure(authority, Webroot(served, journal), orders, SystemClock()).obtain(WANTED)
    assert isinstance(issued, Issued)
    assert list((served / CHALLENGE_PATH.strip("/")).iterdir()) == []
    assert journal.records == ()


async def test_its_file_is_whole_and_for_everybody(tmp_path: Path) -> None:
    """Whatever this process's umask is; a folder that was there keeps its mode."""
    (tmp_path / ".well-known").mkdir(mode=0o750)
    before = os.umask(0o077)
    try:
        await Webroot(tmp_path, MemoryJournal()).present("a", _challenge("token"), "token.thumbprint")
    finally:
        os.umask(before)
    folder = tmp_path / CHALLENGE_PATH.strip("/")
    assert [path.name for path in folder.iterdir()] == ["token"]
    assert (folder / "token").read_text() == "token.thumbprint"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder / "token", folder, folder.parent)]
    assert modes == [0o644, 0o755, 0o750]


async def test_what_a_killed_agent_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """The journal knows which files were its own."""
    journal = MemoryJournal()
    await Webroot(tmp_path, journal).present("a", _challenge("old"), "old.thumbprint")
    folder = tmp_path / CHALLENGE_PATH.strip("/")
    (folder / "somebodys").write_text("else")
    await Webroot(tmp_path, journal).present("a", _challenge("new"), "new.thumbprint")
    assert sorted(path.name for path in folder.iterdir()) == ["new", "somebodys"]
    assert journal.records == ("new",)


async def test_a_rehearsal_is_planted_there_as_well(tmp_path: Path) -> None:
    """And withdrawn."""
    webroot = Webroot(tmp_path, MemoryJournal())
    request = _request("a", "token", webroot.rehearsed("token", "secret"))
    await webroot.show(request, webroot.rehearsed("token", "secret"))
    assert (await webroot.answers(request)).answered
    await webroot.withdraw(request)
    assert not (await webroot.answers(request)).answered


async def test_a_folder_that_cannot_be_written_is_said_before_any_order(tmp_path: Path) -> None:
    """By path and reason; a rehearsal says it too, and raises nothing."""
    webroot = Webroot(tmp_path / "nowhere", MemoryJournal())
    with pytest.raises(NotPresentedError, match=r"nowhere cannot be written: the folder does not exist"):
        await webroot.present("a", _challenge("token"), "body")
    request = _request("a", "token", "body")
    await webroot.show(request, "body")
    check = await webroot.answers(request)
    assert not check.answered
    assert "the folder does not exist" in check.detail


async def test_a_token_is_never_a_path(tmp_path: Path) -> None:
    """Whoever claims to be the CA does not choose where a file goes."""
    with pytest.raises(NotPresentedError, match="cannot be used as a file name"):
        await Webroot(tmp_path, MemoryJournal()).present("a", _challenge("../../evil"), "body")
    assert list(tmp_path.iterdir()) == []


# --- stateless ----------------------------------------------------------------------------------------------------


async def _as_nginx(text: str, port: int) -> asyncio.Server:
    """Answers as nginx does with that snippet."""
    pattern = re.search(r"location ~ (\S+) \{", text)
    answer = re.search(r'return 200 "(.*)";', text)
    assert pattern is not None
    assert answer is not None

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        found = re.match(pattern[1], path)
        body = answer[1].replace("$1", found[1]) if found else ""
        status = "200 OK" if found else "404 Not Found"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", port)


async def test_a_thumbprint_answers_every_challenge(
    authority: AcmeClient, accounts: MemoryAccounts, orders: MemoryOrders, step_ca: StepCa
) -> None:
    """Known before the CA knows the account; nothing is presented."""
    mark = thumbprint(ensure_account(accounts))
    async with await _as_nginx(snippet(mark), step_ca.challenge_port):
        issued = await OrderProcedure(authority, Stateless(None, mark), orders, SystemClock()).obtain(WANTED)
    assert isinstance(issued, Issued)


def test_the_thumbprint_is_rfc_7638s() -> None:
    """As the package that signs for the account has it."""
    for _ in range(20):
        account = ensure_account(MemoryAccounts())
        key = JWKEC(key=load_pem_private_key(account.key_pem.encode(), password=None))
        assert thumbprint(account) == b64encode(key.thumbprint()).decode()


async def test_a_snippet_of_another_account_is_seen_on_the_node(tmp_path: Path) -> None:
    """Before any order: which file, and what has to be in it."""
    mark = thumbprint(ensure_account(MemoryAccounts()))
    file = tmp_path / "certagent.conf"
    stateless = Stateless(file, mark)
    request = _request("a", "token", stateless.rehearsed("token", "secret"))
    assert (await stateless.answers(request)).detail == "it does not exist; `certagent account` prints it"
    file.write_text(snippet("another"))
    assert mark in (await stateless.answers(request)).detail
    file.write_text(snippet(mark))
    assert (await stateless.answers(request)).answered


def test_an_account_shows_its_key_to_nobody() -> None:
    """The thumbprint is the public key's."""
    account = ensure_account(MemoryAccounts())
    assert isinstance(account, Account)
    assert "PRIVATE" not in thumbprint(account) + repr(account)


# --- exec ---------------------------------------------------------------------------------------------------------

HOOK = """#!/bin/sh
[ "$1" = --zone ] && shift 2
echo "$@" >>"{log}"
env | sort >"{log}.environment"
exit {status}
"""


def _program(tmp_path: Path, status: int = 0, body: str = HOOK) -> Path:
    path = tmp_path / "hook"
    path.write_text(body.format(log=tmp_path / "log", status=status))
    path.chmod(0o755)
    return path


def _hook(tmp_path: Path, journal: MemoryJournal, status: int = 0, **more: Any) -> Dns01Program:
    command = (str(_program(tmp_path, status)), "--zone", "$(reboot) internal")
    return Dns01Program(HookSolver(command=command, **more), journal)


async def test_a_program_presents_the_record_and_cleans_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arguments as they are, a clean environment, no shell; the wildcard's name is what follows the star."""
    monkeypatch.setenv("SECRET", "of another program")
    journal = MemoryJournal()
    hook = _hook(tmp_path, journal)
    challenge = _challenge("token")
    await hook.present("app.internal", challenge, "token.thumbprint")
    text = text_of(hashlib.sha256(b"token.thumbprint").digest())
    assert [type(one) for one in journal.records] == [HookRecord]
    await hook.clean_up("app.internal", challenge)
    said = (tmp_path / "log").read_text().splitlines()
    assert said == [
        f"present _acme-challenge.app.internal {text}",
        f"cleanup _acme-challenge.app.internal {text}",
    ]
    assert journal.records == ()
    environment = (tmp_path / "log.environment").read_text()
    assert "SECRET" not in environment


async def test_a_program_that_fails_is_a_finding_without_its_output(tmp_path: Path) -> None:
    """What it prints may be a secret."""
    hook = _hook(tmp_path, MemoryJournal(), status=3)
    with pytest.raises(NotPresentedError, match="hook present exited with status 3") as raised:
        await hook.present("app.internal", _challenge("token"), "body")
    assert raised.value.code == "dns01.hook_failed"
    request = _request("app.internal", "other", hook.rehearsed("other", "secret"), "dns-01")
    await hook.show(request, hook.rehearsed("other", "secret"))
    check = await hook.answers(request)
    assert check.withheld
    assert check.publication is not None
    assert check.publication.trouble == "hook"


async def test_a_program_runs_as_the_user_that_is_named() -> None:
    """In that user's groups, with nothing of ours; one that is not there is said before anything is run."""
    command = ("/bin/sh", "-c", '[ "$(id -un) $(id -Gn)" = "daemon daemon" ]')
    challenge = _challenge("token")
    await Dns01Program(HookSolver(command=command, user="daemon"), MemoryJournal()).present(
        "app.internal", challenge, "body"
    )
    with pytest.raises(NotPresentedError, match="sh present exited with status 1"):
        await Dns01Program(HookSolver(command=command), MemoryJournal()).present("app.internal", challenge, "body")
    stranger = Dns01Program(HookSolver(command=command, user="nobody-here"), MemoryJournal())
    with pytest.raises(NotPresentedError, match="there is no user 'nobody-here' on this machine"):
        await stranger.present("app.internal", challenge, "body")


async def test_a_program_that_does_not_end_is_ended(tmp_path: Path) -> None:
    """Bounded, with its children."""
    program = _program(tmp_path, body="#!/bin/sh\nsleep 600\n")
    hook = Dns01Program(HookSolver(command=(str(program),), timeout=0.3), MemoryJournal())
    with pytest.raises(NotPresentedError, match="did not finish within"):
        await hook.present("app.internal", _challenge("token"), "body")


async def test_what_a_killed_agent_presented_is_cleaned_up(tmp_path: Path) -> None:
    """Once, before the next record."""
    journal = MemoryJournal()
    await _hook(tmp_path, journal).present("app.internal", _challenge("old"), "old")
    await _hook(tmp_path, journal).present("app.internal", _challenge("new"), "new")
    said = [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert said == ["present", "cleanup", "present"]
    assert len(journal.records) == 1


async def test_an_order_says_which_program_failed(authority: AcmeClient, orders: MemoryOrders, tmp_path: Path) -> None:
    """By value; the order stays for the next time."""
    wanted = CertificateRequest(identifiers=("localhost",), key_type="ecdsa-p256")
    failed = await OrderProcedure(authority, _hook(tmp_path, MemoryJournal(), 1), orders, SystemClock()).obtain(wanted)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.can_retry) == ("dns01.hook_failed", True)


async def test_what_cannot_be_noted_down_is_not_presented(tmp_path: Path) -> None:
    """And so not cleaned up either; a rehearsal is withheld, an order told."""
    journal = MemoryJournal()
    hook = _hook(tmp_path, journal)
    journal.is_full = True
    with pytest.raises(NotPresentedError, match="the state cannot be written: No space left on device") as raised:
        await hook.present("app.internal", _challenge("token"), "body")
    assert raised.value.code == "deploy.unwritable"
    await hook.clean_up("app.internal", _challenge("token"))
    await _withheld(hook)
    assert not (tmp_path / "log").exists()


async def test_what_was_presented_is_cleaned_up_on_a_full_disk(tmp_path: Path) -> None:
    """Once; that it was, the journal says when it can be written again."""
    journal = MemoryJournal()
    hook = _hook(tmp_path, journal)
    await hook.present("app.internal", _challenge("token"), "body")
    journal.is_full = True
    for _ in range(2):
        await hook.clean_up("app.internal", _challenge("token"))
    assert [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()] == ["present", "cleanup"]
    journal.is_full = False
    await hook.present("app.internal", _challenge("next"), "body")
    assert len(journal.records) == 1


async def _withheld(solver: Dns01Program | Dns01Updater) -> None:
    request = _request("app.internal", "other", solver.rehearsed("other", "secret"), "dns-01")
    await solver.show(request, solver.rehearsed("other", "secret"))
    check = await solver.answers(request)
    await solver.withdraw(request)
    assert check.withheld
    assert check.publication is not None
    assert check.publication.trouble == "journal"


# --- rfc2136 ------------------------------------------------------------------------------------------------------


class Primary:
    """A zone's server that takes every change."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.changes: list[Any] = []
        for name in ("find_zone", "servers_of", "ask_txt", "update_txt"):
            monkeypatch.setattr(dns01_update, name, getattr(self, name))

    async def find_zone(self, *_: Any) -> ZoneAnswer:
        """See `certagent.system.zones`."""
        return ZoneAnswer(status="ok", zone="internal.", is_own=True)

    async def servers_of(self, *_: Any) -> tuple[str, ...]:
        """Likewise: none beside it."""
        return ("127.0.0.1",)

    async def ask_txt(self, server: str, name: str, *_: Any, **__: Any) -> TxtAnswer:
        """See `certagent.system.dns_update`."""
        return TxtAnswer(nameserver=server, name=name, status="ok", records=1, matched=True)

    async def update_txt(self, server: str, zone: str, name: str, change: Any, **_: Any) -> UpdateAnswer:
        """Likewise."""
        self.changes.append(change)
        return UpdateAnswer()


async def test_a_record_that_cannot_be_noted_down_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so not taken away; what was written before is, whatever the journal says of it."""
    primary, journal = Primary(monkeypatch), MemoryJournal()
    (tmp_path / "tsig").write_text("c2VjcmV0")
    settings = Rfc2136Solver(server="127.0.0.1", key_name="certagent", key_file=tmp_path / "tsig")
    writer = Dns01Updater(settings, journal, SystemClock())
    await writer.present("app.internal", _challenge("before"), "before")
    assert len(primary.changes) == 1
    journal.is_full = True
    with pytest.raises(NotPresentedError, match="the state cannot be written: No space left on device") as raised:
        await writer.present("app.internal", _challenge("token"), "body")
    assert raised.value.code == "deploy.unwritable"
    await writer.clean_up("app.internal", _challenge("token"))
    await _withheld(writer)
    assert len(primary.changes) == 1
    await writer.clean_up("app.internal", _challenge("before"))
    await writer.clean_up("app.internal", _challenge("before"))
    assert len(primary.changes) == 2


async def test_a_record_is_written_once_the_note_about_it_can_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Space is free again, as the fix says: what was withheld is shown, and what was refused is presented."""
    primary, journal = Primary(monkeypatch), MemoryJournal()
    (tmp_path / "tsig").write_text("c2VjcmV0")
    settings = Rfc2136Solver(server="127.0.0.1", key_name="certagent", key_file=tmp_path / "tsig")
    writer = Dns01Updater(settings, journal, SystemClock())
    journal.is_full = True
    await _withheld(writer)
    with pytest.raises(NotPresentedError):
        await writer.present("app.internal", _challenge("token"), "body")
    assert primary.changes == []
    journal.is_full = False
    request = _request("app.internal", "other", writer.rehearsed("other", "secret"), "dns-01")
    await writer.show(request, writer.rehearsed("other", "secret"))
    check = await writer.answers(request)
    assert not check.withheld
    assert check.publication is not None
    assert check.publication.trouble is None
    await writer.withdraw(request)
    await writer.present("app.internal", _challenge("token"), "body")
    assert len(primary.changes) == 3
