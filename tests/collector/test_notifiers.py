"""Every kind of channel with a real receiver: Alertmanager from Debian, signed webhooks, Apprise; the heartbeat."""

import asyncio
import hashlib
import hmac
import json
import signal
import sqlite3
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from certagent.collector.notifiers import NOTIFIERS
from certagent.config import ChannelSection
from tests.collector.alertmanager import running_alertmanager
from tests.collector.cast import AT_RISK
from tests.collector.postgresql import Server
from tests.collector.process import Collector, eventually, running
from tests.collector.test_alert_delivery import fail
from tests.evidence import shadow
from tests.fakes.receivers import Receiver, Sink
from tests.ports import free_port
from tests.warm import warm_certagent

pytestmark = pytest.mark.slow

QUICK = '[collector]\nlook_every = "100ms"\nheartbeat_every = "150ms"\n'


def channel(kind: str, url: str, name: str = "one", more: str = "") -> str:
    """A section of collector.toml."""
    return f'[[channel]]\nname = "{name}"\nkind = "{kind}"\nurl = "{url}"\n{more}'


def quick(folder: Path) -> str:
    """A policy that looks often, and the line that names it."""
    (folder / "policy.toml").write_text(QUICK)
    return f'policy = "{folder}/policy.toml"\n'


async def certagent(*arguments: str) -> tuple[int, str]:
    """(exit status, what it wrote) of the command."""
    done = await asyncio.to_thread(warm_certagent().run, *arguments)
    return done.returncode, done.stdout + done.stderr


async def alerts_of(sink: Sink, status: str) -> dict[str, Any]:
    """What Alertmanager itself passed on with that status."""

    async def found() -> dict[str, Any] | None:
        documents = [json.loads(body) for _, _, body in sink.taken]
        return next((one for document in documents for one in document["alerts"] if one["status"] == status), None)

    return dict(await eventually(found))


@pytest.mark.servers
async def test_an_incident_is_an_alert_until_it_is_resolved(tmp_path: Path) -> None:
    """Through a real Alertmanager to its own receiver: labels to route by, the words for a person, and the end."""
    async with Sink().listening() as sink:
        receiver = f"http://127.0.0.1:{sink.port}/am"
        async with running_alertmanager(tmp_path / "am", receiver) as alertmanager:
            section = channel("alertmanager", alertmanager.url)
            async with running(tmp_path, more=section, is_warm=True) as collector:
                await fail(collector)
                firing = await alerts_of(sink, "firing")
                (incident,) = await collector.incidents()
                assert firing["labels"] == {
                    "alertname": "dns.hosts_shadow.authority",
                    "severity": "fatal",
                    "incident": incident["id"],
                    "node": "lxc103",
                    "file": "/etc/hosts",
                    "source": "certagent",
                }
                assert firing["annotations"]["summary"] == "lxc103:/etc/hosts:7"
                assert "Remove line 7" in firing["annotations"]["fix"]
                assert firing["generatorURL"].endswith(f"/incidents/{incident['id']}")
                await collector.report(collector.cast.authority.watch())
                resolved = await alerts_of(sink, "resolved")
                assert resolved["labels"] == firing["labels"]
                assert await alertmanager.alerts() == []


@pytest.mark.servers
async def test_an_alertmanager_that_lost_everything_is_told_again(tmp_path: Path) -> None:
    """It keeps no alerts over its own restart; nor is it lost that the collector restarts."""
    port = free_port()
    section = channel("alertmanager", f"http://127.0.0.1:{port}")
    async with running(tmp_path, more=section, is_warm=True) as collector:
        async with running_alertmanager(tmp_path / "am", port=port) as alertmanager:
            await fail(collector)
            await eventually(alertmanager.alerts)
        await collector.stop(signal.SIGKILL)
        async with running_alertmanager(tmp_path / "am", port=port) as alertmanager:
            assert await alertmanager.alerts() == []
            await collector.start()
            (alert,) = await eventually(alertmanager.alerts)
            assert alert["labels"]["alertname"] == shadow().code


async def test_a_webhook_is_signed(tmp_path: Path) -> None:
    """HMAC-SHA256 of the time, a dot and the body, by the secret in a file; told again it is the same delivery."""
    (tmp_path / "secret").write_text("k3y\n")
    (tmp_path / "secret").chmod(0o600)
    async with Sink(status=503).listening() as sink:
        more = f'secret_file = "{tmp_path}/secret"\n'
        section = channel("webhook", f"http://127.0.0.1:{sink.port}/x", more=more)
        async with running(tmp_path, more=section, is_warm=True) as collector:
            await fail(collector)
            (_, first, body), (_, second, _) = (await sink.has(2))[:2]
            signed = first["X-Certagent-Timestamp"].encode() + b"." + body
            assert first["X-Certagent-Signature"] == "sha256=" + hmac.new(b"k3y", signed, hashlib.sha256).hexdigest()
            assert first["X-Certagent-Delivery"] == second["X-Certagent-Delivery"]
            assert "k3y" not in collector.log()


async def test_apprise_carries_title_and_body(tmp_path: Path) -> None:
    """By its own JSON service; a failure is tried again, and the URL's password is in no log."""
    async with Sink(status=500).listening() as sink:
        section = channel("apprise", f"json://me:s3cr3t@127.0.0.1:{sink.port}/x")
        async with running(tmp_path, more=section, is_warm=True) as collector:
            await fail(collector)
            await sink.has(1)
            sink.status, sink.taken = 200, []
            _, _, body = (await sink.has(1))[0]
            document = json.loads(body)
            assert document["title"] == f"lxc103:/etc/hosts:7 puts 1 certificate at risk: {AT_RISK}"
            assert "Remove line 7" in document["message"]
            assert (document["type"], "s3cr3t" in collector.log()) == ("failure", False)


@pytest.mark.servers
async def test_the_heartbeat_stops_with_the_collector(tmp_path: Path) -> None:
    """Alertmanager itself ends the alert when nobody renews it; that is the alarm."""
    async with Sink().listening() as sink:
        receiver = f"http://127.0.0.1:{sink.port}/am"
        async with running_alertmanager(tmp_path / "am", receiver) as alertmanager:
            section = f'[heartbeat]\nkind = "alertmanager"\nurl = "{alertmanager.url}"\n'
            async with running(tmp_path, top=quick(tmp_path), more=section, is_warm=True) as collector:
                assert (await alerts_of(sink, "firing"))["labels"]["alertname"] == "CertagentAlive"
                await collector.stop(signal.SIGKILL)
                assert (await alerts_of(sink, "resolved"))["labels"]["alertname"] == "CertagentAlive"


@pytest.mark.slow
async def test_the_heartbeat_is_a_ping_and_says_nothing_when_the_store_fails(tmp_path: Path) -> None:
    """Again and again; not any more once the database cannot be written."""
    async with Sink().listening() as sink:
        section = f'[heartbeat]\nurl = "http://127.0.0.1:{sink.port}/ping"\n'
        async with running(tmp_path, top=quick(tmp_path), more=section, is_warm=True) as collector:
            assert {path for path, _, _ in await sink.has(3)} == {"/ping"}
            blocker = sqlite3.connect(tmp_path / "state/collector.db", isolation_level=None)
            blocker.execute("BEGIN EXCLUSIVE")
            sink.taken = []
            async with asyncio.timeout(15):
                while "the round was not finished" not in collector.log():
                    await asyncio.sleep(0.05)
            assert len(sink.taken) <= 1
            blocker.execute("ROLLBACK")
            blocker.close()
            await sink.has(2)


@pytest.mark.parametrize(("status", "permanent"), [(200, None), (503, False), (404, False), (422, True)])
async def test_a_channel_can_be_tried(tmp_path: Path, status: int, permanent: bool | None) -> None:
    """`certagent channel test`: taken over, may work later, never will."""
    async with Sink(status=status).listening() as sink:
        collector = Collector(tmp_path, more=channel("webhook", f"http://127.0.0.1:{sink.port}/x"))
        config = ("--config", str(collector.folder / "collector.toml"))
        exit_status, output = await certagent("channel", "test", "one", *config, "--json")
        document = json.loads(output)
        assert (exit_status, document["delivered"]) == ((0, True) if permanent is None else (1, False))
        assert document["permanent"] == (permanent is True)
        assert len(sink.taken) == 1
        exit_status, output = await certagent("channel", "test", "other", *config)
        assert (exit_status, "there is no channel 'other'" in output) == (2, True)


@pytest.mark.servers
async def test_two_collectors_on_one_database_tell_it_once(tmp_path: Path, postgresql: Server) -> None:
    """Reports come in at both, one message leaves; when that collector dies, the other one tells the end."""
    receiver = Receiver()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    url = postgresql.new_database()
    async with (
        receiver.listening(),
        running(tmp_path / "a", receiver.url, store=url, is_warm=True) as one,
        running(tmp_path / "b", receiver.url, store=url, is_warm=True) as other,
    ):
        await one.introduce()
        cast = one.cast
        watched = [cast.authority.watch(shadow()) for _ in range(6)]
        for report, collector in zip(watched, (one, other) * 3, strict=True):
            await collector.report(report)
        await receiver.has(1)
        await one.stop(signal.SIGKILL)
        await other.report(cast.authority.watch())
        taken = await receiver.has(2)
        assert [headers["X-Certagent-State"] for headers, _ in taken] == ["open", "resolved"]
        assert receiver.asked == 2


def test_every_kind_of_channel_is_in_the_table() -> None:
    """The configuration's kinds are those that are built."""
    assert set(get_args(get_type_hints(ChannelSection)["kind"])) == set(NOTIFIERS)
