"""The line of `certagent enrol` in wrong hands, at wrong times, and against a server that is not the collector."""

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from sqlalchemy import select, update

from certagent.collector.credentials import list_tokens, revoke_tokens
from certagent.collector.sql.database import writing
from certagent.collector.sql.schema import enrolments
from certagent.commands import UnableError, init_authority
from certagent.commands import enrol as enrol_command
from certagent.commands import init as agent_init
from certagent.commands import join as join_command
from certagent.config import load_agent, load_collector
from certagent.domain.enrolment import EnrolmentLine, read_line
from certagent.vantage import nginx_pairs
from tests.certificates import Authority
from tests.collector.process import Collector, eventually

pytestmark = pytest.mark.slow

DIRECTORY = "https://ca.fleet.example:9000/acme/acme/directory"
NODE = "lxc110"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container with neither nginx nor Traefik."""
    monkeypatch.setattr(agent_init, "find_nginx", lambda: nginx_pairs.find_nginx(Path("/nowhere/nginx.conf")))
    monkeypatch.setattr(agent_init, "find_traefik", lambda: None)


def enrol(collector: Collector, name: str = NODE, **more: Any) -> EnrolmentLine:
    """What an operator does on the collector's node."""
    collector.authority.write_root(collector.folder / "root.crt")
    more = {"url": f"https://127.0.0.1:{collector.port}", "addresses": ("127.0.0.1",)} | more
    request = enrol_command.EnrolRequest(name=name, directory=DIRECTORY, roots=(collector.folder / "root.crt",), **more)
    document = enrol_command.enrol(load_collector(collector.folder / "collector.toml"), request)
    assert enrol_command.render(document) == document["line"]
    return read_line(document["line"])


def container(folder: Path) -> join_command.JoinRequest:
    """An empty one."""
    etc = folder / "etc"
    return join_command.JoinRequest(configuration=etc / "agent.toml", token=etc / "token", root=etc / "root.crt")


async def join(place: join_command.JoinRequest, line: EnrolmentLine) -> dict[str, Any]:
    """What is done in the container."""
    return await asyncio.to_thread(join_command.join, place, line.written())


async def redeem(collector: Collector, name: str, secret: str) -> tuple[int, Any]:
    """What an attacker does with what they know."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode({"name": name, "secret": secret}).encode()
    return await collector.post("/v1/enrolments", body, None, headers=form)


async def audit(collector: Collector) -> list[tuple[str, str, str | None, Any]]:
    """What is told of enrolments, the earliest first."""
    _, document = await collector.get("/v1/audit")
    found = [one for one in document["items"] if one["action"].startswith("enrolment.")]
    return [(one["action"], one["who"], one["subject"], one["detail"].get("reason")) for one in reversed(found)]


def tokens_of(collector: Collector, name: str) -> list[str]:
    """The roles of its valid tokens."""
    return [one.role for one in list_tokens(collector.store) if one.name == name and one.revoked_at is None]


async def test_one_line_makes_a_container_an_agent(collector: Collector, tmp_path: Path) -> None:
    """Token, root and configuration are there, the token for root alone; it is that name's at the collector."""
    place = container(tmp_path)
    document = await join(place, enrol(collector))
    token = place.token.read_text().strip()
    assert place.token.stat().st_mode & 0o777 == 0o600
    settings = load_agent(place.configuration, with_secrets=False)
    assert settings.agent.name == NODE
    assert settings.authority.directory == DIRECTORY
    assert settings.collector is not None
    assert settings.collector.url == f"https://127.0.0.1:{collector.port}"
    assert [Path(one["file"]).name for one in document["changes"] if one["done"]] == ["agent.toml", "token", "root.crt"]
    assert token not in json.dumps(document)
    collector.tokens[NODE] = token
    assert (await collector.get("/v1/incidents", NODE))[0] == 200
    assert await audit(collector) == [
        ("enrolment.added", (await audit(collector))[0][1], NODE, None),
        ("enrolment.used", NODE, NODE, None),
    ]


async def test_a_node_that_is_configured_gets_its_token_and_keeps_its_configuration(
    collector: Collector, tmp_path: Path
) -> None:
    """As the agent beside the collector does; a root that is the line's stays, too."""
    line, place = enrol(collector), container(tmp_path)
    place.token.parent.mkdir()
    place.configuration.write_text("mine")
    collector.authority.write_root(place.root)
    document = await join(place, line)
    assert [Path(one["file"]).name for one in document["changes"] if one["done"]] == ["token"]
    assert place.configuration.read_text() == "mine"
    assert line.url in document["by_hand"][0]


async def test_the_agent_beside_the_ca_is_configured_from_its_ca_json(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line's role decides; what the CA's file says of names is taken, and the collector is known."""
    (tmp_path / "ca.json").write_text('{"dnsNames": ["ca.fleet.example"]}')
    monkeypatch.setattr(init_authority, "find_ca_file", lambda _: tmp_path / "ca.json")
    place = container(tmp_path)
    document = await join(place, enrol(collector, role="authority"))
    settings = load_agent(place.configuration)
    assert (document["role"], settings.agent.role, settings.agent.name) == ("authority", "authority", NODE)
    assert settings.vantage is not None
    assert settings.vantage.allow == ("*.fleet.example",)
    assert settings.collector is not None
    assert settings.authority.directory == DIRECTORY


async def test_as_commands_one_is_piped_into_the_other(collector: Collector, tmp_path: Path) -> None:
    """The line alone is on standard output, what to do with it on standard error."""
    collector.authority.write_root(tmp_path / "root.crt")
    place, url = container(tmp_path), f"https://127.0.0.1:{collector.port}"
    options = [
        "--directory",
        DIRECTORY,
        "--root-ca",
        str(tmp_path / "root.crt"),
        "--agent-config",
        "/nowhere/agent.toml",
    ]
    options += ["--url", url, "--address", "127.0.0.1", "--config", str(collector.folder / "collector.toml")]
    program = [sys.executable, "-m", "certagent.entry"]
    made = await asyncio.to_thread(
        subprocess.run, [*program, "enrol", NODE, *options], capture_output=True, text=True, check=True
    )
    assert len(made.stdout.splitlines()) == 1
    assert "Keep it secret." in made.stderr
    line = read_line(made.stdout)
    assert (line.name, line.url) == (NODE, url)
    await join(place, line)
    assert place.token.exists()


async def test_a_second_use_is_refused_and_told(collector: Collector, tmp_path: Path) -> None:
    """In the audit, and as an incident until the token of the first use is revoked."""
    line = enrol(collector)
    await join(container(tmp_path / "first"), line)
    with pytest.raises(UnableError, match="this enrolment has already been used"):
        await join(container(tmp_path / "second"), line)
    assert not (tmp_path / "second/etc/token").exists()
    assert tokens_of(collector, NODE) == ["agent"]
    assert (await audit(collector))[-1] == ("enrolment.refused", NODE, NODE, "used")

    async def told(state: str) -> Any:
        return [one for one in await collector.incidents(state) if one["code"] == "agent.enrolled_twice"]

    (incident,) = await eventually(lambda: told("open"))
    assert incident["culprit"]["node"] == NODE
    assert f"certagent token revoke {NODE}" in incident["fix"]
    revoke_tokens(collector.store, NODE, datetime.now(UTC))
    await eventually(lambda: told("resolved"))


async def test_it_is_no_incident_when_everybody_uses_a_line_once(collector: Collector, tmp_path: Path) -> None:
    """Nor when a stranger guesses."""
    await join(container(tmp_path), enrol(collector))
    assert (await redeem(collector, NODE, "x" * 43))[0] == 403
    await asyncio.sleep(1.5)
    assert await collector.incidents() == []


async def test_two_at_once_are_one_token(collector: Collector, tmp_path: Path) -> None:
    """However close they are."""
    line = enrol(collector)
    answers = await asyncio.gather(*(redeem(collector, NODE, line.secret) for _ in range(8)))
    assert sorted(status for status, _ in answers) == [200, *[403] * 7]
    assert tokens_of(collector, NODE) == ["agent"]


async def test_it_ends_after_fifteen_minutes(collector: Collector, tmp_path: Path) -> None:
    """By the collector's clock."""
    line, now = enrol(collector), datetime.now(UTC)
    with writing(collector.store) as connection:
        until = connection.execute(select(enrolments.c.expires_at)).scalar_one()
        assert timedelta(minutes=14) < until - now <= timedelta(minutes=15)
        connection.execute(update(enrolments).values(expires_at=now - timedelta(seconds=1)))
    with pytest.raises(UnableError, match="this enrolment has expired"):
        await join(container(tmp_path), line)
    assert (await audit(collector))[-1][3] == "expired"
    assert tokens_of(collector, NODE) == []


async def test_it_is_bound_to_its_name(collector: Collector) -> None:
    """Another name gets nothing by it, and whose line it is gets told; it is still good."""
    line = enrol(collector)
    for name in ("lxc103", "", NODE.upper(), f"{NODE}\n"):
        status, problem = await redeem(collector, name, line.secret)
        assert (status, problem["reason"]) == (403, "unknown")
    assert (await audit(collector))[-1] == ("enrolment.refused", NODE, NODE, "unknown")
    assert (await redeem(collector, NODE, line.secret))[0] == 200


async def test_a_newer_line_ends_an_older_one(collector: Collector) -> None:
    """Of the same name."""
    older, newer = enrol(collector), enrol(collector)
    assert (await redeem(collector, NODE, older.secret))[0] == 403
    assert (await redeem(collector, NODE, newer.secret))[0] == 200


async def test_a_line_makes_no_agent_the_authority(collector: Collector) -> None:
    """The role is the operator's word, and a name has one at a time."""
    with pytest.raises(ValueError, match="of the role agent: revoke that first"):
        enrol(collector, "lxc102", role="authority")
    enrol(collector)
    line = enrol(collector, role="authority")
    assert (await redeem(collector, NODE, line.secret))[1]["role"] == "authority"
    assert tokens_of(collector, NODE) == ["authority"]


async def test_guessing_is_bounded_and_counted(collector: Collector) -> None:
    """Ten tries of an address, then it has to wait; a flood is one entry of the audit."""
    answers = [(await redeem(collector, NODE, f"{number}" * 20))[0] for number in range(14)]
    assert answers == [403] * 10 + [429] * 4
    assert await audit(collector) == [("enrolment.refused", "", None, "unknown")]


async def test_the_secret_is_no_token_and_is_kept_nowhere(collector: Collector, tmp_path: Path) -> None:
    """Nor in the database, the log or the audit; what is said of the line does not show it either."""
    line = enrol(collector)
    collector.tokens["stranger"] = line.secret
    assert (await collector.get("/v1/incidents", "stranger"))[0] == 401
    await join(container(tmp_path), line)
    files = [path for path in collector.folder.rglob("*") if path.is_file() and "etc" not in path.parts]
    token = (tmp_path / "etc/token").read_bytes().strip()
    for path in files:
        assert line.secret.encode() not in path.read_bytes(), path
        assert token not in path.read_bytes(), path
    assert line.secret not in repr(line)


@asynccontextmanager
async def impostor(authority: Authority, *names: str) -> AsyncIterator[tuple[int, list[bytes]]]:
    """(its port, what it was sent): a server of another certificate, even one that the CA itself has issued."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair, seen = authority.issue(*names), list[bytes]()
    with NamedTemporaryFile() as file:
        file.write(pair.chain_pem + pair.key_pem)
        file.flush()
        context.load_cert_chain(file.name)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            seen.append(await reader.read(65_536))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.transport.abort()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1], seen


async def test_another_server_is_sent_nothing(collector: Collector, tmp_path: Path) -> None:
    """Not by the name, even with a certificate of the fleet's own CA; and the line is still good."""
    line = enrol(collector)
    async with impostor(collector.authority, "collector.test", "127.0.0.1") as (port, seen):
        astray = msgspec.structs.replace(line, url=f"https://127.0.0.1:{port}")
        with pytest.raises(
            UnableError, match="presents a certificate other than the one in the line, so nothing was sent"
        ):
            await join(container(tmp_path), astray)
    assert b"".join(seen) == b""
    assert not (tmp_path / "etc/token").exists()
    await join(container(tmp_path), line)


async def test_other_roots_than_the_lines_are_not_kept(collector: Collector, tmp_path: Path) -> None:
    """Whatever the answer says."""
    line = msgspec.structs.replace(enrol(collector), roots=("ab" * 32,))
    with pytest.raises(UnableError, match="sent an answer that does not match the line: nothing was saved"):
        await join(container(tmp_path), line)
    assert [path for path in (tmp_path / "etc").rglob("*") if path.is_file()] == []


async def test_a_line_for_another_name_is_refused_before_it_is_used(collector: Collector, tmp_path: Path) -> None:
    """The collector would refuse the reports of an agent that has another name than its token."""
    place, line = container(tmp_path), enrol(collector)
    place.configuration.parent.mkdir()
    place.configuration.write_text('[agent]\nname = "another"\n')
    with pytest.raises(ValueError, match=f"the line is for {NODE}, and .* names this agent another: certagent enrol"):
        await join(place, line)
    assert not place.token.exists()
    place.configuration.write_text(f'[agent]\nname = "{NODE}"\n')
    assert (await join(place, line))["name"] == NODE


@pytest.mark.parametrize("there", ["token", "root.crt"])
async def test_nothing_is_overwritten_and_the_line_stays_good(collector: Collector, tmp_path: Path, there: str) -> None:
    """A token that is there, a link in its place, another root: refused before anything is sent."""
    line, place = enrol(collector), container(tmp_path)
    place.token.parent.mkdir()
    (place.token.parent / there).symlink_to(tmp_path / "elsewhere")
    with pytest.raises((ValueError, OSError)):
        await join(place, line)
    assert not (tmp_path / "elsewhere").exists()
    (place.token.parent / there).unlink()
    await join(place, line)


DAMAGED = ["", "\0", "certagent-enrol-1.", "certagent-enrol-1.%%%", "certagent-enrol-1.e30", "x" * 100_000, "é" * 9]


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: ascii(text)[:20])
def test_what_is_no_line_is_one_sentence(text: str, tmp_path: Path) -> None:
    """Which does not repeat it."""
    with pytest.raises(ValueError, match=r"^(not a|the) line from `certagent enrol`") as raised:
        join_command.join(container(tmp_path), text)
    assert len(str(raised.value)) < 100


@pytest.mark.parametrize(
    ("url", "addresses", "expected"),
    [
        ("https://collector.test:{port}", (), ("127.0.0.1",)),
        ("https://collector.test", (), ("127.0.0.1:{port}",)),
        ("https://collector.test:1", ("10.0.0.4", "[fd00::4]:8844"), ("10.0.0.4", "[fd00::4]:8844")),
    ],
    ids=["its own port", "a balancer's port", "as was said"],
)
async def test_the_line_has_the_collectors_own_port_where_the_url_has_another(
    collector: Collector, url: str, addresses: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    """Behind a balancer, say: its addresses are the collector's."""
    line = enrol(collector, url=url.format(port=collector.port), addresses=addresses)
    assert line.addresses == tuple(address.format(port=collector.port) for address in expected)


async def test_an_address_that_is_none_makes_no_line(collector: Collector) -> None:
    """Nobody could use it."""
    with pytest.raises(ValueError, match=r"'collector\.test:1' is neither an IP address nor address:port"):
        enrol(collector, addresses=("10.0.0.4", "collector.test:1"))


def test_a_line_that_names_odd_things_is_refused() -> None:
    """Before it is used for anything."""
    good = EnrolmentLine(
        name=NODE,
        url="https://c:1",
        addresses=("10.0.0.1",),
        certificate="ab" * 32,
        roots=("cd" * 32,),
        secret="x" * 43,
    )
    assert read_line(good.written()) == good
    assert read_line(" \n".join(good.written())) == good
    for odd in (
        {"name": "../x"},
        {"url": "http://c:1"},
        {"url": "https://c:1/path"},
        {"url": "https://u:p@c"},
        {"addresses": ("name",)},
        {"addresses": ("10.0.0.1",) * 9},
        {"certificate": "ab"},
        {"roots": ()},
        {"secret": "short"},
    ):
        with pytest.raises(ValueError, match="contains unexpected data"):
            read_line(msgspec.structs.replace(good, **odd).written())


async def test_the_line_is_read_from_standard_input_alone(collector: Collector, tmp_path: Path) -> None:
    """As a command: in no argument, so in no list of processes; neither printed again."""
    line, place = enrol(collector).written(), container(tmp_path)
    files = ("--config", str(place.configuration), "--token", str(place.token), "--root", str(place.root))
    command = [sys.executable, "-m", "certagent.entry", "join", *files]
    refused = await asyncio.to_thread(subprocess.run, [*command, line], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    done = await asyncio.to_thread(
        subprocess.run, [*command, "--json"], input=line, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == NODE
    assert read_line(line).secret not in done.stdout + done.stderr
