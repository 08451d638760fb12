"""The resolver's files, and names resolved by them as the CA resolves them. Observations only.

The machine of `domain.resolution.go` is driven with real nameservers. Every one of them, the CA's and the configured
ones, is asked for the plain name at once, so that both sides of a disagreement are known and a silent nameserver costs
its bound only once. After a change of the files each name of the fleet that a hosts file mentions, or mentioned before,
is resolved.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import msgspec

from certagent.domain.observations import Unreadable
from certagent.domain.rehearsals import DnsAnswer, Resolution, ResolvedAddress
from certagent.domain.resolution.address_order import in_order_of_trial
from certagent.domain.resolution.file_formats import (
    HOSTS_FILE,
    RESOLV_CONF_FILE,
    UnreadLine,
    parse_address,
    parse_hosts,
)
from certagent.domain.resolution.files import (
    NSSWITCH_FILE,
    RESOLVER_FILES,
    ResolverFiles,
    parse_files,
)
from certagent.domain.resolution.go import Lookup, Question, is_domain_name, look_up
from certagent.domain.resolution.managed_files import Surroundings, find_managers
from certagent.system import dns
from certagent.system.procfs import ProcFs, source_address
from certagent.system.regular_files import FileState, read_within

ASKING_FOR = timedelta(
    seconds=2
)  # the CA waits 5 s for each; a nameserver of the fleet that needs 2 is as good as dead
MOST_AT_ONCE = 64  # questions, each with a socket of its own
MOST_ADDRESSES = 64  # of one name from one source; the CA's dialer would be busy with fewer for all its patience
GRACE = timedelta(milliseconds=300)  # for nameservers that only stand beside the others

_RECORDS = ("A", "AAAA")


class Ask(Protocol):
    """One question on the wire: `certagent.system.dns.ask`."""

    def __call__(
        self, nameserver: str, name: str, record: str, timeout: timedelta, port: int = ..., use_tcp: bool = ...
    ) -> Coroutine[Any, Any, DnsAnswer]:
        """The answer; never raises."""
        ...


class ResolverSession:
    """The look-ups of one rehearsal, inside one world. Each question goes out at most once. Use as a context."""

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
        """What the CA gets for the name, its addresses in the order in which it tries them."""
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
        """The look-up with its two sides. Waits for nameservers beside the deciding ones, but only a little."""
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
        """Both of the above."""
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
        """Ask, unless that nameserver has already kept silent once: it would cost the bound again and again."""
        async with self._at_once:
            if nameserver in self._silent:
                return DnsAnswer(nameserver=nameserver, name=name, record=record, status="timeout")
            answer = await self._ask_as_often_as_go(nameserver, name, record)
            if answer.status == "timeout":
                self._silent.add(nameserver)
            return msgspec.structs.replace(answer, addresses=answer.addresses[:MOST_ADDRESSES])

    async def _ask_as_often_as_go(self, nameserver: str, name: str, record: str) -> DnsAnswer:
        """For no longer at once than the CA's resolv.conf says, where it names that nameserver: who needs 1.4 s is mute
        to it under `timeout:1`. Go asks again then (`attempts`), as do we, as long as the bound holds."""
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
        """The answer; "unreachable" as soon as any question to that nameserver is. A port where nobody listens says so
        about once a second, not to each question: the others would wait for nothing."""
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
        """Until all have answered; or, once one has said yes or no, no longer than the grace."""
        waiting = [task for task in self._of(lookup.name) if not task.done()]
        if not waiting:
            return
        await asyncio.wait(waiting, timeout=GRACE.total_seconds())
        has_word = any(task.done() and task.result().status in ("ok", "nxdomain") for task in self._of(lookup.name))
        late = [task for task in waiting if not task.done()]
        if late and not has_word:
            await asyncio.wait(late)


def in_order(lookup: Lookup, source_of: Callable[[str], str | None] = source_address) -> Lookup:
    """The look-up with its addresses as the CA's dialer gets them."""
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
    """A nameserver of resolv.conf is an address; one of the CA's own --resolver may have a port."""
    if parse_address(nameserver) is not None:
        return nameserver, dns.PORT
    host, _, port = nameserver.rpartition(":")
    return host.strip("[]"), int(port)


MOST_NAMES = 500

Snapshot = Mapping[str, FileState]
"""Path, as the CA knows it -> the file as it was found."""


class FileObservation(msgspec.Struct, frozen=True, kw_only=True):
    """What the resolver's files do to the fleet's names. `reason`: why nothing could be seen; then the rest is empty.

    `resolutions` covers the names of the hosts file now and in the snapshot before. `unread` are lines without
    effect. `own_names` and `own_addresses` are those of this node, which may well be on loopback here.
    """

    snapshot: Snapshot = {}
    resolutions: tuple[Resolution, ...] = ()
    unread: tuple[UnreadLine, ...] = ()
    files: ResolverFiles | None = None
    own_names: tuple[str, ...] = ()
    own_addresses: tuple[str, ...] = ()
    left_out: int = 0  # names beyond the bound
    unreadable: tuple[Unreadable, ...] = ()  # of these files, and of what else decides there
    reason: str | None = None


def read_files(root: Path, proc: ProcFs, pid: int | None = None) -> tuple[ResolverFiles, Snapshot]:
    """The resolver's files below `root`, parsed and as found; `pid` is whose world that is, ours by default. What that
    process may not read is absent to it."""
    states = {path: _state_of(root, path, pid) for path in RESOLVER_FILES}
    reader = proc.reader(pid) if pid is not None else None
    unreadable = tuple(path for path, state in states.items() if reader is not None and not reader.may_read(state))
    seen = {path: None if path in unreadable else state.content for path, state in states.items()}
    surroundings = {
        path: Surroundings(
            pve_ignored=is_left_alone(root, path),
            target=states[path].target,
            mounted_from=proc.mounted_from(pid, path),
        )
        for path in (HOSTS_FILE, RESOLV_CONF_FILE)
    }
    files = parse_files(
        seen[HOSTS_FILE],
        seen[RESOLV_CONF_FILE],
        seen[NSSWITCH_FILE],
        socket.gethostname(),
        surroundings[HOSTS_FILE],
    )
    managers = find_managers(seen[RESOLV_CONF_FILE] or b"", surroundings[RESOLV_CONF_FILE])
    return msgspec.structs.replace(files, resolv_conf_managers=managers, unreadable=unreadable), states


def _state_of(root: Path, path: str, pid: int | None) -> FileState:
    """What we may not read of our own node is said; that we may not look at another process is for the caller."""
    try:
        return read_within(root, path)
    except PermissionError as error:
        if pid is not None:
            raise
        return FileState(problem=error.strerror)


def unreadable_in(states: Snapshot) -> tuple[Unreadable, ...]:
    """Files that are there, and are none that can be read."""
    return tuple(
        Unreadable(file=path, reason=state.problem) for path, state in states.items() if state.problem is not None
    )


def is_left_alone(root: Path, path: str) -> bool:
    """Whether Proxmox was told not to rewrite that file."""
    return read_within(root, f"/etc/.pve-ignore.{Path(path).name}").content is not None


def names_of_fleet(
    snapshots: Sequence[Snapshot], zones: Sequence[str], is_wanted: Callable[[str], bool]
) -> tuple[str, ...]:
    """The names in these hosts files that lie in a zone of the fleet (or are the zone), or are wanted otherwise."""
    found: dict[str, None] = {}
    for snapshot in snapshots:
        state = snapshot.get(HOSTS_FILE)
        names = parse_hosts(state.content).names() if state is not None else ()
        found |= dict.fromkeys(name for name in names if _is_in(name, zones) or is_wanted(name))
    return tuple(found)


async def resolve_all(session: ResolverSession, names: Sequence[str]) -> tuple[Resolution, ...]:
    """Each name as the files and nameservers have it, in the same order."""
    return tuple(await asyncio.gather(*(session.resolve(name) for name in names[:MOST_NAMES])))


def _is_in(name: str, zones: Sequence[str]) -> bool:
    lowered = [zone.lower().strip(".") for zone in zones]
    return any(name == zone or name.endswith("." + zone) for zone in lowered)
