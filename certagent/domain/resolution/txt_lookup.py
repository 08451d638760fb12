"""Go's look-up of TXT records as a machine without I/O: the hosts file and nsswitch.conf have no say in it.

Facts: Go's net/lookup.go (goLookupTXT) and net/dnsclient_unix.go (lookup, tryOneName): names by the search list and
ndots, nameservers in turn; "there is no such thing" is final for one name, trouble passes on to the next nameserver.
"""

from collections.abc import Generator, Iterator

from certagent.domain.dns01_record import TxtAnswer, TxtLookup
from certagent.domain.probe_errors import DnsStatus
from certagent.domain.resolution.files import ResolverFiles
from certagent.domain.resolution.go import Question, candidates, is_domain_name

_MOST_ROUNDS = 48

Asking = Generator[Question, TxtAnswer, TxtLookup]
"""Yields one question after the other; send the answer."""


def look_up_txt(name: str, files: ResolverFiles) -> Asking:
    """Look one name's TXT records up as the CA does."""
    answers: list[TxtAnswer] = []
    if not is_domain_name(name):
        return TxtLookup(name=name, error=DnsStatus.NXDOMAIN)
    conf = files.resolv_conf
    for number, candidate in enumerate(candidates(name, conf, files.hostname)):
        for question in _questions(candidate, files, number if conf.rotate else 0):
            answer = yield question
            answers.append(answer)
            if answer.records:
                return TxtLookup(name=name, answers=tuple(answers))
            if answer.status in (DnsStatus.OK, DnsStatus.NXDOMAIN):
                break
    answers.sort(key=lambda answer: answer.name == _absolute(name))  # what the search list adds explains nothing
    error = _error(answers[-1]) if answers else DnsStatus.NXDOMAIN
    is_nobody_there = error in (DnsStatus.UNREACHABLE, DnsStatus.TIMEOUT, DnsStatus.REFUSED) and conf.names_nobody()
    return TxtLookup(name=name, answers=tuple(answers), error=DnsStatus.NO_NAMESERVER if is_nobody_there else error)


def _questions(name: str, files: ResolverFiles, offset: int) -> Iterator[Question]:
    conf = files.resolv_conf
    servers = conf.asked()
    start = offset % len(servers)
    for attempt in range(1, min(conf.attempts, _MOST_ROUNDS) + 1):
        for server in servers[start:] + servers[:start]:
            yield Question(server, name, "TXT", attempt, conf.timeout_for)


def _absolute(name: str) -> str:
    return name if name.endswith(".") else name + "."


def _error(answer: TxtAnswer) -> str:
    return DnsStatus.NODATA if answer.status == DnsStatus.OK else answer.status
