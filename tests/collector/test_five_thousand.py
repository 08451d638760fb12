"""Thousands of victims over as many TLS channels and posts of separate tokens: one incident, one message."""

import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import insert

from certagent.collector.credentials import digest_of
from certagent.collector.sql.database import writing
from certagent.collector.sql.ingest import store_rehearsals
from certagent.collector.sql.schema import tokens
from certagent.collector.sql.statements import Transaction
from certagent.domain.policy import Alerting
from certagent.domain.rehearsals import RehearsalOutcome
from tests.collector.cast import now
from tests.collector.crowd import ZONE
from tests.collector.postgresql import Server
from tests.collector.process import Collector, eventually, running
from tests.evidence import rehearse_traefik, shadow
from tests.fakes.receivers import Receiver
from tests.tiers import Tiers

PROCESSES = 8
LARGEST = 330  # MiB, once each has only its channel: 297 to 302 were seen, and 460 when all others stayed open


def admit(collector: Collector, count: int) -> dict[str, str]:
    """So many tokens, in one transaction."""
    made = {f"n{number}": secrets.token_urlsafe(32) for number in range(count)}
    rows = [
        {"name": name, "role": "agent", "digest": digest_of(secret), "created_at": now()}
        for name, secret in made.items()
    ]
    with writing(collector.store) as connection:
        connection.execute(insert(tokens), rows)
    return made


def rehearse(collector: Collector, names: Iterable[str]) -> None:
    """What each agent has had rehearsed before it accuses anybody: the CA went by the very line, and failed."""
    failed = rehearse_traefik(RehearsalOutcome.FAILED, poisoned=True)
    with writing(collector.store) as connection:
        for name in names:
            rehearsal = msgspec.structs.replace(failed, identifier=f"{name}.{ZONE}")
            store_rehearsals(Transaction(connection, now(), Alerting()), (rehearsal,), asker=name)


class Crowd:
    """The other processes: several, for agents do not wait for each other."""

    def __init__(self, processes: Sequence[asyncio.subprocess.Process]) -> None:
        self._processes = processes

    async def hear(self) -> dict[str, float]:
        """The next word of all of them: the longest of each figure."""
        words = await asyncio.gather(*(_line_of(process) for process in self._processes))
        return {name: max(word[name] for word in words) for name in words[0]}

    def go_on(self) -> None:
        """Let them do what comes next."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(b"\n")


async def _line_of(process: asyncio.subprocess.Process) -> dict[str, float]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, "the crowd ended"
    return dict(json.loads(line))


@asynccontextmanager
async def crowd_of(collector: Collector, secrets_of: Mapping[str, str]) -> AsyncIterator[Crowd]:
    """The agents that have these tokens, connected."""
    made = list(secrets_of.items())
    asked = {"url": f"https://127.0.0.1:{collector.port}", "ca": collector.authority.root_pem.decode()}
    pipe = asyncio.subprocess.PIPE
    processes = []
    try:
        for number in range(PROCESSES):
            path = collector.folder / f"crowd-{number}.json"
            path.write_text(json.dumps({**asked, "tokens": dict(made[number::PROCESSES])}))
            command = (sys.executable, "-m", "tests.collector.crowd", str(path))
            where = Path(__file__).parents[2]
            processes.append(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=where))
        yield Crowd(processes)
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


def resident_mib(pid: int) -> float:
    """The process's proportional share of memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def connections(pid: int) -> int:
    """How many files and sockets the process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_thousands_of_victims_are_one_incident_and_one_message(tmp_path: Path, tiers: Tiers) -> None:
    """None is missing from the incident; exactly one message leaves. How soon is measured in `tests/bench`."""
    receiver, many = Receiver(), int(tiers.amount("tests/collector/test_five_thousand.py"))
    async with (
        receiver.listening(),
        running(tmp_path, receiver.url) as collector,
        crowd_of(collector, secrets_of := admit(collector, many)) as crowd,
    ):
        assert collector.process is not None
        joined = await crowd.hear()
        pid = collector.process.pid
        figures = {"joined_s": joined["joined"], "joined_mib": resident_mib(pid)}

        async def is_idle() -> bool:
            return connections(pid) <= many + 100

        await eventually(is_idle, within=60)
        await asyncio.sleep(6)  # until the last of the others is closed, too: a post must not meet that
        figures["idle_mib"] = resident_mib(pid)
        await asyncio.to_thread(rehearse, collector, secrets_of)
        begun = time.monotonic()
        await collector.report(collector.cast.authority.watch(shadow(f"n0.{ZONE}")))  # who else says so joins it
        crowd.go_on()
        await receiver.has(1)
        figures["message_s"] = time.monotonic() - begun
        accused = await crowd.hear()
        figures |= {"all_posts_s": accused["accused"], "longest_post_s": accused["longest"]}

        async def is_whole() -> bool:
            (incident,) = await collector.incidents()
            return len({victim["node"] for victim in incident["victims"]}) == many

        await eventually(is_whole, within=60)
        figures["whole_incident_s"] = time.monotonic() - begun
        crowd.go_on()
        (incident,) = await collector.incidents()
        assert {victim["identifier"] for victim in incident["victims"]} == {f"n{n}.{ZONE}" for n in range(many)}
        assert (incident["code"], incident["culprit"]["file"]) == (shadow().code, "/etc/hosts")
        print(json.dumps(figures))
        assert receiver.asked == 1
        assert figures["idle_mib"] <= LARGEST


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.timeout(200)
async def test_a_thousand_victims_half_at_each_of_two_collectors_are_one_incident_and_one_message(
    tmp_path: Path, postgresql: Server
) -> None:
    """On one PostgreSQL; all report at once."""
    receiver, url, many = Receiver(), postgresql.new_database(), 1_000
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    async with (
        receiver.listening(),
        running(tmp_path / "one", receiver.url, store=url, is_warm=True, name="one") as one,
        running(tmp_path / "other", receiver.url, store=url, is_warm=True, name="other") as other,
    ):
        made = list(admit(one, many).items())
        async with crowd_of(one, dict(made[::2])) as half, crowd_of(other, dict(made[1::2])) as other_half:
            halves = (half, other_half)
            await asyncio.gather(*(crowd.hear() for crowd in halves))
            for crowd in halves:
                crowd.go_on()
            await asyncio.gather(*(crowd.hear() for crowd in halves))

            async def is_whole() -> bool:
                (incident,) = await other.incidents()
                return len({victim["node"] for victim in incident["victims"]}) == many

            await eventually(is_whole, within=60)
            await receiver.has(1)
            assert len(await one.incidents()) == 1
            await asyncio.sleep(3)  # a second message would be on its way
            assert receiver.asked == 1
