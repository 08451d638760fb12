"""The audit: who did what, when, from where; appended by whoever does it, in the same transaction; bounded."""

import ast
import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from certagent import __version__
from certagent.agent.reporter import FixEvents, Reporter
from certagent.collector.credentials import (
    add_certificate,
    add_token,
    add_user,
    bind_claims,
    remove_user,
    revoke_tokens,
    set_password,
)
from certagent.collector.housekeeping import prune_in_steps
from certagent.collector.records import AuditAction, Author, Caller, TokenRole
from certagent.collector.sql.audit_queries import (
    append_entry,
    append_failed_login,
    append_policy,
    list_audit,
    prune_audit,
)
from certagent.collector.sql.database import writing
from certagent.collector.store import Store, open_store
from certagent.domain.claims import ClaimKind
from certagent.domain.fixes import Fix, FixedFile
from certagent.domain.policy import Alerting
from certagent.domain.reports import FixEvent, Outcome, RunKind, Trigger
from certagent.reporting import Spool, Uplink
from certagent.state import State
from certagent.system.clock import SystemClock
from certagent.system.invoker import invoking_user
from certagent.system.pinned_http import PinnedClient
from tests.collector.cast import Agent, now
from tests.collector.process import Collector, eventually, running
from tests.collector.test_backup import put_back, save
from tests.evidence import shadow
from tests.fakes.contact import NoContactLog
from tests.house import MODULES, nodes_of

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """Open, empty."""
    async with open_store(url, Alerting(), SystemClock()) as opened:
        yield opened


def entries(url: str) -> list[Any]:
    """All of them, the first first."""
    with writing(url) as connection:
        return list(reversed(list_audit(connection, None, 10_000).items))


def told(url: str) -> list[tuple[str, str, str | None]]:
    """Action, who, of what."""
    return [(entry.action, entry.who, entry.subject) for entry in entries(url)]


def test_every_command_on_the_collectors_node_leaves_its_entry(url: str, tmp_path: Path) -> None:
    """With the user who ran it and the node; what changed nothing leaves none."""
    me = invoking_user()
    add_token(url, "lxc101", TokenRole.AGENT, now())
    add_certificate(url, "lxc102", TokenRole.AUTHORITY, "b.example", now())
    bind_claims(url, ["lxc101"], [(ClaimKind.IDENTIFIER, "a.example")], now())
    bind_claims(url, [], [(ClaimKind.IDENTIFIER, "a.example")], now())
    assert revoke_tokens(url, "lxc101", now()) == 1
    assert revoke_tokens(url, "lxc101", now()) == 0
    add_user(url, "ada", TokenRole.OPERATOR, PASSWORD, now())
    assert set_password(url, "ada", PASSWORD + "!")
    assert remove_user(url, "ada")
    assert not remove_user(url, "ada")
    save(url, tmp_path / "b.db")
    assert told(url) == [
        ("token.added", me, "lxc101"),
        ("token.added", me, "lxc102"),
        ("token.bound", me, "a.example"),
        ("token.unbound", me, "a.example"),
        ("token.revoked", me, "lxc101"),
        ("user.added", me, "ada"),
        ("user.password_changed", me, "ada"),
        ("user.removed", me, "ada"),
        ("store.backed_up", me, str(tmp_path / "b.db")),
    ]
    assert {entry.origin.partition(" on ")[0] for entry in entries(url)} == {"command"}
    assert entries(url)[1].detail == {"role": "authority", "certificate": "b.example"}
    assert PASSWORD not in str(entries(url))


def test_a_restore_is_told_after_what_the_backup_tells_and_what_happened_before_it(tmp_path: Path, url: str) -> None:
    """Nothing that happened in the store is lost by filling it."""
    source = f"sqlite:///{tmp_path}/source.db"
    add_token(source, "lxc101", TokenRole.AGENT, now())
    save(source, tmp_path / "b.db")
    with writing(url) as connection:
        append_entry(connection, now(), Author("lxc104", "start"), AuditAction.POLICY_IN_FORCE, "before")
    put_back(tmp_path / "b.db", url)
    assert [entry.action for entry in entries(url)] == [
        "token.added",
        "store.backed_up",
        "policy.in_force",
        "store.restored",
    ]


async def test_a_flood_of_failed_logins_is_counted_and_folded(store: Store, url: str) -> None:
    """By user and address; of too many addresses together; what was typed is not kept unless there is such a user."""
    for number in range(40):
        for _ in range(3):
            await store.write(append_failed_login, None, f"203.0.113.{number}")
    for _ in range(500):
        await store.write(append_failed_login, "ada", "198.51.100.1")
    kept = entries(url)
    assert len(kept) == 21
    assert sum(entry.count for entry in kept) == 40 * 3 + 500
    assert kept[0].origin == "203.0.113.0"
    assert kept[0].count == 3
    assert kept[0].last_at >= kept[0].at
    assert (kept[-1].who, kept[-1].origin) == ("", "several")


async def test_an_agents_fixes_are_told_once_and_bounded(store: Store, url: str) -> None:
    """As that agent's report; the same again adds nothing; what is too much is counted."""
    agent, caller = Agent("lxc103"), Caller("lxc103", TokenRole.AUTHORITY)
    done = FixEvent(id="f1", at=now(), files=("/etc/hosts",), incident="i1", by="root (logged in as ada)")
    undone = msgspec.structs.replace(done, is_undone=True)
    for events in ((done,), (done, undone), (undone,)):
        await store.accept(caller, [agent.report(RunKind.WATCH, fixes=events)])
    assert told(url) == [("fix.applied", "lxc103", "f1"), ("fix.undone", "lxc103", "f1")]
    assert entries(url)[0].origin == "report of the agent lxc103"
    assert entries(url)[0].detail["by"] == "root (logged in as ada)"
    flood = tuple(msgspec.structs.replace(done, id=f"g{number}") for number in range(900))
    await store.accept(caller, [agent.report(RunKind.WATCH, fixes=flood)])
    applied = [entry for entry in entries(url) if entry.action == "fix.applied"]
    assert len(applied) == 20
    assert sum(entry.count for entry in applied) == 901


async def test_the_policy_in_force_is_told_when_it_differs_from_before(store: Store, url: str) -> None:
    """By each collector."""
    for collector, digest in (("a", "1"), ("b", "1"), ("a", "1"), ("a", "2"), ("a", "1")):
        await store.write(append_policy, collector, digest, {"collector.keep_audit_for": "PT3600S"})
    assert [(entry.who, entry.subject) for entry in entries(url)] == [("a", "1"), ("b", "1"), ("a", "2"), ("a", "1")]


async def test_it_is_kept_as_long_as_the_policy_says(store: Store, url: str) -> None:
    """What is older goes, with its count."""
    with writing(url) as connection:
        for age in (3, 2, 1):
            at = now() - timedelta(days=age)
            append_entry(connection, at, Author("ops", "10.0.0.1"), AuditAction.LOGIN, str(age))
    assert await prune_in_steps(store, prune_audit, now() - timedelta(days=1, hours=12)) == 2
    assert [entry.subject for entry in entries(url)] == ["1"]


def test_entries_are_appended_and_never_changed() -> None:
    """No statement anywhere updates one, and none deletes one but by age, or to put it back after a restore."""
    touching = {"update": [], "delete": []}  # type: dict[str, list[str]]
    for path in MODULES:
        for function in (node for node in nodes_of(path) if isinstance(node, ast.FunctionDef)):
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                named = call.func.id if isinstance(call.func, ast.Name) else ""
                if named in touching and call.args and ast.unparse(call.args[0]) == "audit":
                    touching[named].append(function.name)
    assert touching == {"update": [], "delete": ["prune_audit"]}


async def _items(collector: Collector, **query: str) -> list[dict[str, Any]]:
    status, page = await collector.get("/v1/audit", params=query)
    assert status == 200
    return list(page["items"])


async def test_operators_read_it_by_the_api_and_on_the_page(collector: Collector) -> None:
    """Paged like every listing; nobody else does."""
    for name in ("lxc101", "lxc103"):
        assert (await collector.get("/v1/audit", name))[0] == 403
    collector.tokens["wall"] = add_token(collector.store, "wall", TokenRole.VIEWER, now())
    assert (await eventually(lambda: collector.get("/v1/audit", "wall")))[0] == 403
    assert (await collector.get("/v1/audit", None))[0] == 401
    await collector.introduce()
    await collector.report(collector.cast.authority.watch(shadow()))
    (incident,) = await collector.incidents("open")
    for _ in range(2):
        assert (await collector.post(f"/v1/incidents/{incident['id']}/ack", b"", "ops"))[0] == 200
    (acknowledged,) = await _items(collector, action="incident.acknowledged")
    assert (acknowledged["who"], acknowledged["from"], acknowledged["subject"]) == ("ops", "127.0.0.1", incident["id"])
    assert (acknowledged["count"], acknowledged["detail"]) == (1, {})
    assert [one["action"] for one in await _items(collector, who="wall")] == []
    everything = await _items(collector)
    seen: list[dict[str, Any]] = []
    cursor = None
    while cursor is not None or not seen:
        _, page = await collector.get("/v1/audit", params={"limit": "2"} | ({"cursor": cursor} if cursor else {}))
        seen += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == everything
    assert [one["action"] for one in everything] == [
        "incident.acknowledged",
        "token.added",
        "policy.in_force",
        *["token.added"] * 4,
    ]
    assert (await collector.get("/v1/audit", params={"action": "nonsense"}))[0] == 400
    async with collector.session("ops") as session, session.get("/audit") as response:
        page_text = await response.text()
    assert "incident.acknowledged" in page_text
    assert incident["id"] in page_text
    async with collector.session("wall") as session:
        async with session.get("/audit") as response:
            assert response.status == 403
        async with session.get("/") as response:
            assert "/audit" not in await response.text()


async def test_logins_and_logouts_are_in_it(collector: Collector) -> None:
    """With the address; a flood of wrong passwords adds one entry, without a word of what was typed."""
    add_user(collector.store, "ada", TokenRole.OPERATOR, PASSWORD, now())
    origin = {"Origin": f"https://127.0.0.1:{collector.port}"}
    connector = aiohttp.TCPConnector(ssl=collector.trust())
    jar = aiohttp.CookieJar(unsafe=True)
    base = f"https://127.0.0.1:{collector.port}"
    async with aiohttp.ClientSession(base, headers=origin, connector=connector, cookie_jar=jar) as browser:
        for _ in range(3):
            form = {"name": "hunter2-typed-as-a-name", "password": "x"}
            async with browser.post("/login", data=form, allow_redirects=False) as response:
                assert response.status == 403
        form = {"name": "ada", "password": PASSWORD, "next": "/audit"}
        async with browser.post("/login", data=form, allow_redirects=False) as response:
            assert response.status == 303
        async with browser.get("/audit") as response:
            page = await response.text()
        token = page.partition('name="token" value="')[2].partition('"')[0]
        async with browser.post("/logout", data={"token": token}, allow_redirects=False) as response:
            assert response.status == 303
    told_now = [(one["action"], one["who"], one["from"], one["count"]) for one in (await _items(collector))[:3]]
    assert told_now == [
        ("logout", "ada", "127.0.0.1", 1),
        ("login", "ada", "127.0.0.1", 1),
        ("login.failed", "", "127.0.0.1", 3),
    ]
    assert "hunter2" not in str(await _items(collector))


async def test_a_fix_on_a_node_arrives_with_its_agents_next_report(collector: Collector, tmp_path: Path) -> None:
    """From the state folder, where the command left it, by spool and uplink."""
    root, state = tmp_path / "root.crt", State(tmp_path / "agent")
    collector.authority.write_root(root)
    fixed = FixedFile(file="/etc/hosts", before="0" * 64, after="1" * 64)
    state.fixes().keep(Fix(id="f1", at=now(), incident="i1", files=(fixed,), by="root"), {"/etc/hosts": b""})
    spool = Spool(tmp_path / "agent" / "spool")
    reporter = Reporter("lxc103", spool, SystemClock(), FixEvents(state))
    reporter.end(reporter.begin(RunKind.WATCH, Trigger.FILE), Outcome.DONE)
    token = {"Authorization": f"Bearer {collector.tokens['lxc103']}"}
    async with PinnedClient(f"https://127.0.0.1:{collector.port}", root, (), token) as client:
        uplink = asyncio.create_task(Uplink(spool, client, SystemClock(), NoContactLog()).run())

        async def told() -> list[dict[str, Any]]:
            return await _items(collector, action="fix.applied")

        (entry,) = await eventually(told)
        uplink.cancel()
        assert client.server_version == __version__
    assert (entry["who"], entry["subject"], entry["from"]) == ("lxc103", "f1", "report of the agent lxc103")
    assert (entry["detail"]["files"], entry["detail"]["by"]) == (["/etc/hosts"], "root")


async def test_the_policy_in_force_is_told_with_what_differs_from_the_default(tmp_path: Path) -> None:
    """At the start; the next start by the same policy adds nothing, another policy does."""
    policy = tmp_path / "policy.toml"
    policy.write_text('[collector]\nkeep_audit_for = "40d"\n')
    async with running(tmp_path, top=f'policy = "{policy}"\n') as collector:
        (first,) = await _items(collector, action="policy.in_force")
        assert first["detail"] == {"changed": {"collector.keep_audit_for": "3456000s"}}
        for content, expected in ((policy.read_text(), 1), ('[collector]\nkeep_audit_for = "41d"\n', 2)):
            policy.write_text(content)
            await collector.stop()
            await collector.start()
            await eventually(collector.is_up)
            assert len(await _items(collector, action="policy.in_force")) == expected


async def test_a_channel_test_is_in_it(tmp_path: Path) -> None:
    """Also one that did not get through; without its database the test goes on, and says that it is not recorded."""
    from certagent.commands import channel
    from certagent.config import load_collector

    file = tmp_path / "collector.toml"
    for store, recorded in ((f"sqlite:///{tmp_path}/c.db", True), (f"sqlite:///{tmp_path}/collector.toml", False)):
        file.write_text(
            f'[server]\nlisten = "127.0.0.1:1"\n[store]\nurl = "{store}"\n'
            '[[channel]]\nname = "hook"\nkind = "webhook"\nurl = "http://127.0.0.1:1/"\n'
        )
        document = await asyncio.to_thread(channel.test, load_collector(file), "hook")
        assert (document["delivered"], document["recorded"]) == (False, recorded)
    (entry,) = entries(f"sqlite:///{tmp_path}/c.db")
    assert (entry.action, entry.subject) == ("channel.tested", "hook")
    assert entry.detail["failure"] == document["failure"]
