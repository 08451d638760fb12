"""An agent whose collector is gone says so on its own node: a real agent, a real collector, a real receiver."""

import signal
from pathlib import Path
from typing import Any

import pytest

from certagent.system.webhook import sign
from tests.agent.process import Agent, running_agent
from tests.collector.process import eventually, running
from tests.fakes.receivers import Sink

pytestmark = pytest.mark.slow

GONE = "agent.collector_gone"
QUICK = '[agent]\ncollector_gone_after = "1s"\n'


async def _findings(agent: Agent, status: int) -> list[dict[str, Any]] | None:
    """What `certagent status` says of the agent itself, once it ends with that status."""
    ended, document = await agent.ask("status")
    return list(document["findings"]) if document and ended == status else None


async def test_it_is_said_once_in_journal_status_and_webhook_and_once_when_it_is_over(tmp_path: Path) -> None:
    """A kill -9 of the agent in between makes nothing be said twice."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    async with running(tmp_path, is_warm=True) as collector, Sink().listening() as sink:
        webhook = f'webhook = {{ url = "http://127.0.0.1:{sink.port}/own", secret_file = "{secret}" }}\n'
        async with running_agent(tmp_path / "agent", collector, policy=QUICK, more=webhook) as agent:

            async def is_well() -> bool:
                return await _findings(agent, 0) == []

            await eventually(is_well)
            await collector.stop(signal.SIGKILL)
            findings = await eventually(lambda: _findings(agent, 3))
            assert findings[0]["code"] == GONE
            assert findings[0]["severity"] == "warn"
            assert str(collector.port) in findings[0]["explanation"]
            status, checked = await agent.ask("check")
            assert (status, checked["findings"][0]["code"]) == (3, GONE)
            waiting = await eventually(lambda: _findings(agent, 3))
            assert [one["code"] for one in waiting] == [GONE, "agent.spool_backlog"]
            ((path, headers, body),) = await sink.has(1)
            assert path == "/own"
            assert headers["X-Certagent-State"] == "open"
            assert headers["X-Certagent-Signature"] == sign(b"s3cret", headers["X-Certagent-Timestamp"], body)
            assert "systemctl status certagent-collector" in body.decode()
            await agent.stop(signal.SIGKILL)
            await agent.start()
            await eventually(lambda: _findings(agent, 3))
            await collector.start()
            await eventually(is_well)
            _, (_, headers, body) = await sink.has(2)
            assert headers["X-Certagent-State"] == "resolved"
            assert headers["Title"] == "Resolved: lxc102 reaches the collector again"
            await agent.stop()  # whatever is still to be said is said by then
            assert len(sink.taken) == 2
            assert agent.log().count(f"{GONE}: ") == 1
            assert agent.log().count("the collector is reachable again") == 1


async def test_what_is_shorter_than_the_policy_is_not_mentioned(tmp_path: Path) -> None:
    """A collector that is updated is no alarm; what waits is delivered."""
    async with running(tmp_path, is_warm=True) as collector, Sink().listening() as sink:
        webhook = f'webhook = {{ url = "http://127.0.0.1:{sink.port}/own" }}\n'
        async with running_agent(tmp_path / "agent", collector, more=webhook) as agent:

            async def has_channel() -> bool:
                return "channel is open" in agent.log()

            async def is_back() -> bool:
                return agent.log().count("channel is open") == 2

            await eventually(has_channel)
            await collector.stop()
            await collector.start()
            await eventually(is_back)
            assert await _findings(agent, 0) == []
            assert sink.taken == []
            assert GONE not in agent.log()


async def test_a_webhook_that_fails_is_tried_again(tmp_path: Path) -> None:
    """503, then taken over: the message comes, and the same signature of the same body."""
    async with running(tmp_path, is_warm=True) as collector, Sink(status=503).listening() as sink:
        webhook = f'webhook = {{ url = "http://127.0.0.1:{sink.port}/own" }}\n'
        async with running_agent(tmp_path / "agent", collector, policy=QUICK, more=webhook):
            await collector.stop()
            await sink.has(1)
            sink.status = 200
            first, second = await sink.has(2)
            assert first[2] == second[2]


async def test_refused_reports_are_said_until_somebody_has_read_them(tmp_path: Path) -> None:
    """They lie in dead/: an error of `certagent status`."""
    async with running(tmp_path, is_warm=True) as collector, running_agent(tmp_path / "agent", collector) as agent:

        async def is_well() -> bool:
            return await _findings(agent, 0) == []

        await eventually(is_well)
        dead = tmp_path / "agent" / "state" / "spool" / "dead" / "000000000007.json"
        dead.write_text("{}")
        findings = await eventually(lambda: _findings(agent, 4))
        assert [one["code"] for one in findings] == ["agent.reports_refused"]
        dead.unlink()
        await eventually(is_well)
