"""Go's resolver as a machine without I/O: it yields questions, is fed answers, and returns what the CA would use.

The pure-Go build (CGO_ENABLED=0, as the CA's official one is): the order of sources by nsswitch.conf, all matches of
the hosts file, A and AAAA side by side, nameservers in turn, the search list. Facts: Go's net/dnsclient_unix.go.

What it does not know: which nameserver `rotate` has come to in a CA that has run for long (it begins at the first one),
and in which order A and AAAA arrive (A is first here; RFC 6724 decides afterwards, see `address_order`).
"""

from collections.abc import Generator, Iterator
from datetime import timedelta

import msgspec

from certagent.domain.probe_errors import DnsStatus
from certagent.domain.rehearsals import DnsAnswer, Origin, ResolvedAddress
from certagent.domain.resolution.file_formats import ResolvConf, lower, parse_address
from certagent.domain.resolution.files import ResolverFiles

CA_PATIENCE = timedelta(seconds=30)  # the CA's HTTP client gives up then, name resolution included

_LONGEST_NAME = 254  # with the final dot
_LONGEST_LABEL = 63
_LONGEST_CANONICAL_NAME = 255  # Go gives the look-up up when the line's first name is longer than DNS allows
_MOST_ROUNDS = 48  # attempts:16777215 is possible; the answers would not change any more
_RECORDS = ("A", "AAAA")


class Question(msgspec.Struct, frozen=True):
    """Ask this nameserver for this absolute name. `attempt` counts from 1; the CA waits `timeout_for`."""

    nameserver: str
    name: str
    record: str
    attempt: int
    timeout_for: timedelta


class Lookup(msgspec.Struct, frozen=True, kw_only=True):
    """What the CA gets. `addresses` in the order of arrival; `error` as in `Resolution`, null with addresses.

    `waited_for`: how long the CA itself would have waited for nameservers that never answer.
    """

    name: str
    order: tuple[str, ...]
    addresses: tuple[ResolvedAddress, ...] = ()
    error: str | None = None
    waited_for: timedelta = timedelta(0)


Asking = Generator[tuple[Question, ...], tuple[DnsAnswer, ...], Lookup]
"""Yields questions that are asked at the same time; send the answers in the same order."""


class _OutOfPatienceError(Exception):
    """The CA's HTTP client has given up."""


def look_up(name: str, files: ResolverFiles, patience: timedelta = CA_PATIENCE) -> Asking:
    """Resolve one name as the CA does. `patience`: after so much waiting the outcome is "timeout"."""
    order = files.nsswitch.order
    literal = parse_address(name)
    if literal is not None:
        found = ResolvedAddress(address=literal, origin=Origin(source="literal"))
        return Lookup(name=name, order=order, addresses=(found,))
    inquiry = _Inquiry(files, patience)
    error: str | None = DnsStatus.NXDOMAIN
    for source in order:
        addresses: tuple[ResolvedAddress, ...] = ()
        if source == "files":
            if len(files.hosts.canonical_name(name).encode()) > _LONGEST_CANONICAL_NAME:
                return Lookup(name=name, order=order, error="malformed", waited_for=inquiry.waited_for)
            addresses = files.in_hosts(name)
        elif not is_domain_name(name):
            break  # final: Go does not even go on to the hosts file
        else:
            try:
                addresses, error = yield from inquiry.ask(name)
            except _OutOfPatienceError:
                error = "timeout"
                break
        if addresses:
            return Lookup(name=name, order=order, addresses=addresses, waited_for=inquiry.waited_for)
    return Lookup(name=name, order=order, error=error, waited_for=inquiry.waited_for)


def candidates(name: str, resolv_conf: ResolvConf, hostname: str = "") -> tuple[str, ...]:
    """The absolute names that are asked for, one after the other, by `search` and `ndots`."""
    if name.endswith("."):
        return () if _is_avoided(name) or len(name) > _LONGEST_NAME else (name,)
    if len(name) >= _LONGEST_NAME:
        return ()
    absolute = name + "."
    suffixed = [absolute + suffix for suffix in resolv_conf.search or _default_search(hostname)]
    suffixed = [candidate for candidate in suffixed if len(candidate) <= _LONGEST_NAME]
    is_tried_first = name.count(".") >= resolv_conf.ndots
    names = [absolute, *suffixed] if is_tried_first else [*suffixed, absolute]
    return tuple(candidate for candidate in names if not _is_avoided(candidate))


def is_domain_name(name: str) -> bool:
    """Whether Go would ask DNS for such a name at all: letters, digits, dashes, underscores; not digits alone."""
    if name == ".":
        return True
    if not name or len(name) > _LONGEST_NAME or (len(name) == _LONGEST_NAME and not name.endswith(".")):
        return False
    labels = name.removesuffix(".").split(".")
    return all(map(_is_label, labels)) and any(not character.isdigit() for label in labels for character in label)


def _is_label(label: str) -> bool:
    return (
        0 < len(label) <= _LONGEST_LABEL
        and label.isascii()
        and all(character.isalnum() or character in "-_" for character in label)
        and not label.startswith("-")
        and not label.endswith("-")
    )


def _is_avoided(name: str) -> bool:
    return lower(name).removesuffix(".").endswith(".onion")


def _default_search(hostname: str) -> tuple[str, ...]:
    _, _, domain = hostname.partition(".")
    return (domain if domain.endswith(".") else domain + ".",) if domain else ()


class _Inquiry:
    """All questions to DNS for one look-up."""

    def __init__(self, files: ResolverFiles, patience: timedelta) -> None:
        self.waited_for = timedelta(0)
        self._files = files
        self._conf = files.resolv_conf
        self._patience = patience
        self._offset = 0

    def ask(
        self, name: str
    ) -> Generator[tuple[Question, ...], tuple[DnsAnswer, ...], tuple[tuple[ResolvedAddress, ...], str | None]]:
        """The addresses of the first candidate that has any, or why there are none."""
        error: str | None = None
        for candidate in candidates(name, self._conf, self._files.hostname):
            trials = [_Trial(candidate, record, self._servers(), self._conf) for record in _RECORDS]
            for group in ([trial] for trial in trials) if self._conf.single_request else (trials,):
                yield from self._run(group)
            found = tuple(address for trial in trials for address in trial.addresses())
            if found:
                return found, None
            if error is None or candidate == name + ".":
                error = _worse(trials)
        return (), self._in_words(error or DnsStatus.NXDOMAIN)

    def _run(self, trials: list["_Trial"]) -> Generator[tuple[Question, ...], tuple[DnsAnswer, ...], None]:
        while open_trials := [trial for trial in trials if trial.question is not None]:
            answers = yield tuple(trial.question for trial in open_trials if trial.question is not None)
            for trial, answer in zip(open_trials, answers, strict=True):
                trial.take(answer)
            if any(answer.status == "timeout" for answer in answers):
                self.waited_for += self._conf.timeout_for
            if self.waited_for >= self._patience:
                raise _OutOfPatienceError

    def _servers(self) -> tuple[str, ...]:
        """The nameservers in the order of this trial: with `rotate`, each begins at the next one."""
        servers = self._conf.asked()
        start = self._offset % len(servers)
        self._offset += self._conf.rotate
        return servers[start:] + servers[:start]

    def _in_words(self, error: str) -> str:
        is_nobody_there = error in (DnsStatus.UNREACHABLE, "timeout", DnsStatus.REFUSED) and self._conf.names_nobody()
        return DnsStatus.NO_NAMESERVER if is_nobody_there else error


class _Trial:
    """One name and one record type, asked of one nameserver after the other. `question` is None when it is settled."""

    def __init__(self, name: str, record: str, servers: tuple[str, ...], conf: ResolvConf) -> None:
        self._rounds = _rounds(name, record, servers, conf)
        self._answer: DnsAnswer | None = None
        self.question: Question | None = next(self._rounds)

    def take(self, answer: DnsAnswer) -> None:
        """An answer settles the trial if it says yes or no; trouble passes on to the next nameserver."""
        self._answer = answer
        is_final = answer.status in (DnsStatus.OK, DnsStatus.NXDOMAIN)
        self.question = None if is_final else next(self._rounds, None)

    def addresses(self) -> Iterator[ResolvedAddress]:
        """What came, each with the nameserver that said so."""
        if self._answer is not None and self._answer.status == DnsStatus.OK:
            for address in self._answer.addresses:
                found = parse_address(address) or address  # an IPv4 address in an AAAA is dialled as IPv4
                yield ResolvedAddress(
                    address=found,
                    origin=Origin(source="dns", nameserver=self._answer.nameserver, asked=self._answer.name),
                )

    def failure(self) -> str:
        """Why there is no address."""
        status = self._answer.status if self._answer is not None else DnsStatus.NXDOMAIN
        return DnsStatus.NODATA if status == DnsStatus.OK else status


def _rounds(name: str, record: str, servers: tuple[str, ...], conf: ResolvConf) -> Iterator[Question]:
    for attempt in range(1, min(conf.attempts, _MOST_ROUNDS) + 1):
        for server in servers:
            yield Question(server, name, record, attempt, conf.timeout_for)


def _worse(trials: list[_Trial]) -> str:
    """The failure that tells more: trouble with a server before "there is no such thing", and A before AAAA."""
    failures = [trial.failure() for trial in trials]
    if DnsStatus.NODATA in failures and DnsStatus.NXDOMAIN in failures:
        return DnsStatus.NODATA
    return next((failure for failure in failures if failure not in (DnsStatus.NXDOMAIN, DnsStatus.NODATA)), failures[0])
