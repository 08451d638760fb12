"""Alerts to a real HTTP receiver: readable for ntfy, at least once, in order, also after kill -9."""

import signal
from datetime import timedelta
from email.header import decode_header, make_header
from pathlib import Path

import msgspec
import pytest

from certagent.collector.incident_text import compose_message
from certagent.domain.incidents import TransitionKind, group_findings, transition_incident
from certagent.domain.sightings import Fleet, Sighting, Victim
from certagent.system.webhook import as_header
from tests.collector.cast import AT_RISK, HOSTS, now
from tests.collector.process import Collector, eventually, running
from tests.evidence import LINE, TRAEFIK, shadow
from tests.fakes.receivers import Receiver

pytestmark = pytest.mark.slow


async def fail(collector: Collector) -> None:
    """The founding failure."""
    await collector.introduce()
    await collector.report(collector.cast.authority.watch(shadow()))


async def test_a_person_reads_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    """Body and headers as ntfy shows them; opened and resolved, one message each."""
    async with Receiver().listening() as receiver, running(tmp_path, receiver.url, is_warm=True) as collector:
        await fail(collector)
        headers, body = (await receiver.has(1))[0]
        (incident,) = await collector.incidents()
        for part in ("lxc103:/etc/hosts:7", LINE, "10.0.0.153 (lxc101, gateway)", "Remove line 7", TRAEFIK, "19 h 59"):
            assert part in body
        assert headers["Title"] == f"lxc103:/etc/hosts:7 puts 1 certificate at risk: {AT_RISK}"
        assert (headers["Priority"], headers["X-Certagent-State"]) == ("4", "open")
        assert headers["X-Certagent-Incident"] == incident["id"]
        assert headers["Click"] == f"https://collector.test:{collector.port}/incidents/{incident['id']}"
        assert headers["Tags"].startswith("rotating_light")
        await collector.report(collector.cast.authority.watch())
        headers, body = (await receiver.has(2))[1]
        assert (headers["Title"], headers["X-Certagent-State"]) == ("Resolved: lxc103:/etc/hosts:7", "resolved")
        assert receiver.asked == 2


async def test_a_mere_accusation_pages_nobody_until_it_is_borne_out(tmp_path: Path) -> None:
    """Agent lxc101 accuses lxc103; then lxc103 itself says so."""
    async with Receiver().listening() as receiver, running(tmp_path, receiver.url, is_warm=True) as collector:
        await collector.introduce()
        await collector.report(collector.cast.gateway.preflight(shadow()))
        assert [incident["confirmed"] for incident in await collector.incidents("open")] == [False]
        await collector.report(collector.cast.authority.watch(shadow()))
        await receiver.has(1)
        assert receiver.asked == 1


async def test_nothing_is_lost_when_the_collector_is_killed_before_it_could_notify(tmp_path: Path) -> None:
    """kill -9 between the answer to the report and the receiver's answer; the next start delivers."""
    receiver = Receiver(answers=[None])
    async with receiver.listening(), running(tmp_path, receiver.url, is_warm=True) as collector:
        await fail(collector)

        async def is_asked() -> bool:
            return receiver.asked == 1

        await eventually(is_asked)
        assert await collector.stop(signal.SIGKILL) == -signal.SIGKILL
        assert receiver.taken == []
        await collector.start()
        await receiver.has(1)
        _, page = await collector.get("/v1/reports")
        assert len(page["items"]) == 4
        assert receiver.asked == 2


async def test_it_is_delivered_after_a_restart_even_if_nobody_listened_before(tmp_path: Path) -> None:
    """The receiver was down, the collector was killed, both are back."""
    receiver = Receiver()
    async with running(tmp_path, receiver.url, is_warm=True) as collector:
        await fail(collector)
        await collector.stop(signal.SIGKILL)
        async with receiver.listening():
            await collector.start()
            await receiver.has(1)


async def test_a_transient_failure_is_tried_again_and_order_is_kept(tmp_path: Path) -> None:
    """503, then it works: opened before resolved."""
    receiver = Receiver(answers=[503])
    async with receiver.listening(), running(tmp_path, receiver.url, is_warm=True) as collector:
        await fail(collector)
        await collector.report(collector.cast.authority.watch())
        taken = await receiver.has(2)
        assert [headers["X-Certagent-State"] for headers, _ in taken] == ["open", "resolved"]


async def test_a_permanent_failure_is_given_up_and_holds_up_nobody(tmp_path: Path) -> None:
    """422 for the first; the second is delivered."""
    receiver = Receiver(answers=[422])
    async with receiver.listening(), running(tmp_path, receiver.url, is_warm=True) as collector:
        await fail(collector)
        await collector.report(collector.cast.authority.watch())
        assert (await receiver.has(1))[0][0]["X-Certagent-State"] == "resolved"
        assert receiver.asked == 2
        log = collector.log()
        assert "gave up on incident" in log
        assert "HTTP 422" in log


@pytest.mark.parametrize("status", [302, 401, 404, 410])
async def test_a_receiver_that_is_being_set_up_anew_gets_the_same_message_later(tmp_path: Path, status: int) -> None:
    receiver = Receiver(answers=[status, status])
    async with receiver.listening(), running(tmp_path, receiver.url) as collector:
        await fail(collector)
        ((headers, _),) = await receiver.has(1)
        assert headers["X-Certagent-State"] == "open"
        assert receiver.asked == 3
        assert "gave up" not in collector.log()


@pytest.mark.parametrize("text", ["/etc/höst\u2026s", "/etc/ho\r\nX-Evil: 1"])
def test_titles_are_one_line_of_ascii(text: str) -> None:
    """RFC 2047 for what is not; no header can be smuggled in."""
    culprit = shadow().culprit
    assert culprit is not None
    finding = msgspec.structs.replace(shadow(), culprit=msgspec.structs.replace(culprit, file=text))
    case = next(
        iter(group_findings([Sighting(agent="lxc103", scope=HOSTS, at=now(), finding=finding)], Fleet()).values())
    )
    incident, kind = transition_incident("key", None, case, now())
    assert incident is not None
    assert kind is not None
    title = as_header(compose_message(incident, kind, "https://collector.test", now()).title)
    assert title.isascii()
    assert title.isprintable()
    assert " ".join(text.split()) in str(make_header(decode_header(title)))


def test_many_victims_make_one_short_message() -> None:
    """ntfy turns more than 4,096 bytes into an attachment."""
    victims = tuple(
        Victim(identifier=f"n{n}.{TRAEFIK}", node=f"lxc{n}", certificate=f"c{n}", expires_at=now() + timedelta(hours=1))
        for n in range(5_000)
    )
    sighting = Sighting(agent="lxc103", scope=HOSTS, at=now(), finding=shadow())
    fleet = Fleet(authorities=frozenset({"lxc103"}), victims={TRAEFIK: victims})
    incident, _ = transition_incident("key", None, next(iter(group_findings([sighting], fleet).values())), now())
    assert incident is not None
    message = compose_message(incident, TransitionKind.OPENED, "https://collector.test", now())
    assert "5000 certificates at risk" in message.title
    assert "and 4988 more" in message.body
    assert message.priority == 5
    assert len(message.body.encode()) < 4_096


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("dns.nxdomain", "Code: dns.nxdomain (certagent explain dns.nxdomain)"),
        ("dns.from_the_future", "Code: dns.from_the_future"),
        ("all is well; ignore", "Code: 'all is well; ignore'"),
    ],
)
def test_a_message_names_the_code_and_how_to_explain_it(code: str, line: str) -> None:
    """Open and resolved; one that this release does not know is only named, and quoted where it could be more."""
    finding = msgspec.structs.replace(shadow(), code=code)
    sighting = Sighting(agent="lxc103", scope=HOSTS, at=now(), finding=finding)
    incident, _ = transition_incident("key", None, next(iter(group_findings([sighting], Fleet()).values())), now())
    assert incident is not None
    for kind in (TransitionKind.OPENED, TransitionKind.RESOLVED):
        message = compose_message(incident, kind, "https://collector.test", now())
        assert line in message.body.splitlines()
