"""Who speaks for a name is in the store, for every collector on it."""

from datetime import timedelta

import pytest

from certagent.collector.sql.speaker_queries import find_clones, find_contested, find_speakers, hear_voice
from certagent.collector.store import open_store
from certagent.domain.policy import Alerting
from certagent.domain.speakers import HOLD, Standing, Voice, speaker_among
from certagent.system.clock import SystemClock

FIRST, SECOND = Voice("first-0001", "10.0.0.12"), Voice("second-001", "10.0.0.101")


async def test_what_one_collector_has_seen_the_other_one_knows(url: str) -> None:
    """The first process lives beside the second one, which came to another collector."""
    clock = SystemClock()
    started_at = clock.now()
    async with open_store(url, Alerting(), clock) as here, open_store(url, Alerting(), clock) as there:
        await here.write(hear_voice, "lxc102", FIRST, alive=None, heard_at=started_at)
        assert await there.read(find_contested, started_at - HOLD) == {}
        known = await there.write(hear_voice, "lxc102", SECOND, alive=None, heard_at=started_at)
        assert [one.standing for one in sorted(known, key=lambda one: one.instance)] == [
            Standing.FORMER,
            Standing.SPEAKER,
        ]
        contested = await here.read(find_contested, started_at - HOLD)
        assert set(contested["lxc102"]) == set(known)
        known = await here.write(hear_voice, "lxc102", SECOND, alive=None, heard_at=started_at)
        assert await here.read(find_clones, started_at, clock.now()) == ()
        await here.write(hear_voice, "lxc103", FIRST, alive=None, heard_at=started_at)
        await there.write(hear_voice, "lxc103", SECOND, alive=FIRST.instance, heard_at=started_at)
        for store in (here, there):
            (clone,) = await store.read(find_clones, started_at, clock.now())
            assert (clone.node, clone.address, clone.speaker_address) == ("lxc103", "10.0.0.101", "10.0.0.12")
            speakers = await store.read(find_speakers)
            assert (speakers["lxc102"].instance, speakers["lxc103"].instance) == ("second-001", "first-0001")
        later = clock.now() + timedelta(minutes=5)
        assert await here.read(find_clones, started_at, later) == ()


@pytest.mark.parametrize("name", ["lxc102", "x" * 128])
async def test_addresses_and_ids_fit(url: str, name: str) -> None:
    """However long somebody's are."""
    clock = SystemClock()
    voice = Voice("i" * 64, "fe80::1234:5678:9abc:def0%" + "z" * 80)
    async with open_store(url, Alerting(), clock) as store:
        known = await store.write(hear_voice, name, voice, alive=None, heard_at=clock.now())
        assert speaker_among(known) is not None
        assert (await store.read(find_speakers))[name].instance == voice.instance
