"""The resolver files, and names resolved from them as the CA resolves them. Draws no conclusions.

The state machine in `domain.resolution.go` is driven with real nameservers. Each of them, the CA's and the configured
ones, is asked for the plain name at the same time, so that both sides of a disagreement are known and a silent
nameserver costs its timeout only once. After the files change, each name of the fleet that a hosts file contains, or
contained before, is resolved.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, Protocol

import msgspec

from certagent.domain.rehearsals import DnsAnswer, Resolution, ResolvedAddress
from certagent.domain.resolution.address_order import in_order_of_trial
from certagent.domain.resolution.file_formats import (
    HOSTS_FILE,
    parse_address,
    parse_hosts,
)
from certagent.domain.resolution.files import (
    ResolverFiles,
)
from certagent.domain.resolution.go import Lookup, Question, is_domain_name, look_up
from certagent.system import dns
from certagent.system.procfs import source_address
from certagent.vantage.resolver_files import Snapshot

ASKING_FOR = timedelta(seconds=2)  # the CA waits 5 s for each; a nameserver of the fleet that needs 2 s is useless
MOST_AT_ONCE = 64  # concurrent questions, each with its own socket
MOST_ADDRESSES = 64  # of one name from one source; the CA's dialer would time out before it tried so many
GRACE = timedelta(milliseconds=300)  # for nameservers that do not decide the result

_RECORDS = ("A", "AAAA")


class Ask(Protocol):
    """Asks one question on the wire; implemented by `certagent.system.dns.ask`."""

    def __call__(
        self, nameserver: str, name: str, record: str, timeout: timedelta, port: int = ..., use_tcp: bool = ...
    ) -> Coroutine[Any, Any, DnsAnswer]:
        """Return the answer. Never raises."""
        ...


class ResolverSession:
    """The lookups of one rehearsal, with one set of resolver files. Each question is sent at most once. Use as an
    async context manager."""

    def __init__(
        self,
        files: ResolverFiles,
        extra_nameservers: Sequence[str] = (),
        ask: Ask = dns.ask,
        source_of: Callable[[str], str | None] = source_address,
    ) -> None:
        self._files = files
        self._extra_nameservers = extra_nameservers
        self._ask = ask
        self._source_of = source_of
        self._questions: dict[tuple[str, str, str], asyncio.Task[DnsAnswer]] = {}
        self._silent: set[str] = set()
        self._refusals: dict[str, asyncio.Event] = {}
        self._at_once = asyncio.Semaphore(MOST_AT_ONCE)

    async def __aenter__(self) -> "ResolverSession":
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._questions.values():
            task.cancel()
        await asyncio.gather(*self._questions.values(), return_exceptions=True)

    async def look_up(self, name: str) -> Lookup:
        """Return what the CA gets for the name, with the addresses in the order in which it tries them."""
        self._ask_everybody(name)
        machine = look_up(name, self._files)
        try:
            questions = next(machine)
            while True:
                answers = await asyncio.gather(*map(self._answer, questions))
                questions = machine.send(tuple(answers))
        except StopIteration as end:
            result: Lookup = end.value
        result = msgspec.structs.replace(result, addresses=result.addresses[:MOST_ADDRESSES])
        return in_order(result, self._source_of)

    async def resolution(self, lookup: Lookup) -> Resolution:
        """Return the lookup together with the answers of the hosts file and of every nameserver. Waits only briefly
        for nameservers that do not decide the result."""
        await self._wait_for_others(lookup)
        settled = [task.result() for task in self._of(lookup.name) if task.done()]
        return Resolution(
            name=lookup.name.removesuffix("."),
            order=lookup.order,
            addresses=lookup.addresses,
            hosts=self._files.in_hosts(lookup.name)[:MOST_ADDRESSES],
            dns=tuple(settled),
            nameservers=self._files.nameserver_lines(),
            switch=self._files.switch_line(),
            error=lookup.error,
        )

    async def resolve(self, name: str) -> Resolution:
        """Look the name up, and return its resolution."""
        return await self.resolution(await self.look_up(name))

    def _ask_everybody(self, name: str) -> None:
        if parse_address(name) is None and is_domain_name(name):
            for nameserver in self._nameservers():
                for record in _RECORDS:
                    self._order(nameserver, _absolute(name), record)

    def _nameservers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self._files.resolv_conf.asked(), *self._extra_nameservers)))

    async def _answer(self, question: Question) -> DnsAnswer:
        return await asyncio.shield(self._order(question.nameserver, question.name, question.record))

    def _order(self, nameserver: str, name: str, record: str) -> asyncio.Task[DnsAnswer]:
        key = (nameserver, name, record)
        if key not in self._questions:
            asking = self._put(nameserver, name, record)
            self._questions[key] = asyncio.create_task(asking, name=f"dns {record} {name} at {nameserver}")
        return self._questions[key]

    async def _put(self, nameserver: str, name: str, record: str) -> DnsAnswer:
        """Ask, unless the nameserver has already failed to answer once: it would cost the timeout each time."""
        async with self._at_once:
            if nameserver in self._silent:
                return DnsAnswer(nameserver=nameserver, name=name, record=record, status="timeout")
            answer = await self._ask_as_often_as_go(nameserver, name, record)
            if answer.status == "timeout":
                self._silent.add(nameserver)
            return msgspec.structs.replace(answer, addresses=answer.addresses[:MOST_ADDRESSES])

    async def _ask_as_often_as_go(self, nameserver: str, name: str, record: str) -> DnsAnswer:
        """Ask with the timeout that the CA's resolv.conf sets for its nameservers: one that needs 1.4 s does not
        exist for the CA under `timeout:1`. Go then asks again (`attempts`), and so does this method within its
        overall timeout."""
        address, port = endpoint(nameserver)
        configuration = self._files.resolv_conf
        is_the_cas = nameserver in configuration.asked()
        timeout = min(ASKING_FOR, configuration.timeout_for) if is_the_cas else ASKING_FOR
        for _ in range(min(configuration.attempts, ASKING_FOR // timeout)):
            asking = self._ask(address, name, record, timeout, port, configuration.use_tcp)
            answer = await self._unless_refused(asking, nameserver, name, record)
            if answer.status != "timeout":
                break
        return answer

    async def _unless_refused(
        self, asking: Coroutine[Any, Any, DnsAnswer], nameserver: str, name: str, record: str
    ) -> DnsAnswer:
        """Return the answer, or "unreachable" as soon as any question to that nameserver is refused. The kernel
        reports a closed port about once a second, not for each question, so the other questions would wait in vain."""
        refusal = self._refusals.setdefault(nameserver, asyncio.Event())
        async with asyncio.TaskGroup() as group:
            answered = group.create_task(asking, name=f"ask {nameserver}")
            refused = group.create_task(refusal.wait(), name=f"be refused by {nameserver}")
            await asyncio.wait({answered, refused}, return_when=asyncio.FIRST_COMPLETED)
            answered.cancel()
            refused.cancel()
        if answered.cancelled():
            return DnsAnswer(nameserver=nameserver, name=name, record=record, status="unreachable")
        if answered.result().status == "unreachable":
            refusal.set()
        return answered.result()

    def _of(self, name: str) -> list[asyncio.Task[DnsAnswer]]:
        return [task for (_, asked, _), task in self._questions.items() if asked == _absolute(name)]

    async def _wait_for_others(self, lookup: Lookup) -> None:
        """Wait until every nameserver has answered; or, once one has returned a definite answer, no longer than
        `GRACE`."""
        waiting = [task for task in self._of(lookup.name) if not task.done()]
        if not waiting:
            return
        await asyncio.wait(waiting, timeout=GRACE.total_seconds())
        has_word = any(task.done() and task.result().status in ("ok", "nxdomain") for task in self._of(lookup.name))
        late = [task for task in waiting if not task.done()]
        if late and not has_word:
            await asyncio.wait(late)


def in_order(lookup: Lookup, source_of: Callable[[str], str | None] = source_address) -> Lookup:
    """Return the lookup with its addresses in the order in which the CA's dialer gets them."""
    addresses = tuple(found.address for found in lookup.addresses)
    if len(set(addresses)) < 2:
        return lookup
    sources = {address: source_of(address) for address in addresses}
    return _reordered(lookup, in_order_of_trial(addresses, sources))


def _reordered(lookup: Lookup, order: tuple[str, ...]) -> Lookup:
    left = list(lookup.addresses)
    ordered: list[ResolvedAddress] = []
    for address in order:
        found = next(candidate for candidate in left if candidate.address == address)
        left.remove(found)
        ordered.append(found)
    return Lookup(
        name=lookup.name, order=lookup.order, addresses=tuple(ordered), error=None, waited_for=lookup.waited_for
    )


def _absolute(name: str) -> str:
    return name if name.endswith(".") else name + "."


def endpoint(nameserver: str) -> tuple[str, int]:
    """Return address and port: a nameserver in resolv.conf is an address, one in the CA's --resolver may have a
    port."""
    if parse_address(nameserver) is not None:
        return nameserver, dns.PORT
    host, _, port = nameserver.rpartition(":")
    return host.strip("[]"), int(port)


MOST_NAMES = 500


def names_of_fleet(
    snapshots: Sequence[Snapshot], zones: Sequence[str], is_wanted: Callable[[str], bool]
) -> tuple[str, ...]:
    """Return the names in these hosts files that are in a zone of the fleet (or are the zone itself), or that are
    wanted for another reason."""
    found: dict[str, None] = {}
    for snapshot in snapshots:
        state = snapshot.get(HOSTS_FILE)
        names = parse_hosts(state.content).names() if state is not None else ()
        found |= dict.fromkeys(name for name in names if _is_in(name, zones) or is_wanted(name))
    return tuple(found)


async def resolve_all(session: ResolverSession, names: Sequence[str]) -> tuple[Resolution, ...]:
    """Return the resolution of each name, in the same order."""
    return tuple(await asyncio.gather(*(session.resolve(name) for name in names[:MOST_NAMES])))


def _is_in(name: str, zones: Sequence[str]) -> bool:
    lowered = [zone.lower().strip(".") for zone in zones]
    return any(name == zone or name.endswith("." + zone) for zone in lowered)
