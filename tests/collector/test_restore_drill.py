"""A drill: one site is lost, and its backup is restored on another machine, under another name, with real processes."""

import signal
from pathlib import Path

import aiohttp
import pytest

from certagent.collector.credentials import add_user
from certagent.collector.records import TokenRole
from certagent.commands import store as command
from certagent.config import load_collector
from tests.collector.cast import now
from tests.collector.process import Collector, eventually, running, serving
from tests.collector.test_backup import other
from tests.collector.test_login import PASSWORD, log_in
from tests.evidence import shadow
from tests.fakes.receivers import Receiver

__all__ = ["other"]
pytestmark = pytest.mark.slow
OTHER_NAME = "other-site.test"


def restored(folder: Path, backup: Path, store: str, webhook: str) -> Collector:
    """The other site, which has never had a token of its own; its name is in its configuration and its certificate."""
    folder.mkdir()
    configuration = folder / "restore.toml"
    configuration.write_text(f'[server]\nlisten = "127.0.0.1:8843"\n[store]\nurl = "{store}"\n')
    command.restore_(load_collector(configuration), backup)
    collector = Collector(folder, webhook, store=store, is_warm=True, name="other-site")
    file = folder / "collector.toml"
    file.write_text(file.read_text().replace("collector.test", OTHER_NAME))
    collector.served_names = (OTHER_NAME, "127.0.0.1")
    return collector


async def test_a_backup_of_one_site_goes_on_at_another_under_another_name(tmp_path: Path, url: str, other: str) -> None:
    """Agents keep their tokens, people their sessions, the open incident its number; its end is told from there."""
    backup, receiver = tmp_path / "backup.db", Receiver()
    (tmp_path / "one").mkdir()
    async with receiver.listening():
        async with running(tmp_path / "one", receiver.url, store=url, is_warm=True) as lost:
            await lost.introduce()
            await lost.report(lost.cast.authority.watch(shadow()))
            await receiver.has(1)
            add_user(lost.store, "ada", TokenRole.OPERATOR, PASSWORD, now())
            connector = aiohttp.TCPConnector(ssl=lost.trust())
            async with aiohttp.ClientSession(f"https://127.0.0.1:{lost.port}", connector=connector) as person:
                status, _, cookie = await log_in(person)
            assert status == 303
            (incident,) = await lost.incidents()
            command.backup(load_collector(tmp_path / "one" / "collector.toml"), backup)
            await lost.stop(signal.SIGKILL)
        elsewhere = restored(tmp_path / "other", backup, other, receiver.url)
        elsewhere.tokens, elsewhere.cast = lost.tokens, lost.cast
        async with serving(elsewhere):
            assert [(one["id"], one["state"]) for one in await elsewhere.incidents()] == [(incident["id"], "open")]
            kept = {"Cookie": cookie.partition(";")[0]}
            async with elsewhere.session(None) as session, session.get("/v1/agents", headers=kept) as response:
                assert response.status == 200
                assert {one["name"] for one in (await response.json())["items"]} == {"lxc101", "lxc102", "lxc103"}
            async with elsewhere.session("lxc102") as agent, agent.ws_connect("/v1/channel") as link:
                assert not link.closed
            await elsewhere.report(elsewhere.cast.authority.watch())
            await receiver.has(2)

            async def is_over() -> bool:
                return [one["state"] for one in await elsewhere.incidents("resolved")] == ["resolved"]

            await eventually(is_over)
        assert receiver.asked == 2
