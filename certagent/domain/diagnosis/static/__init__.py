"""Conclusions from files alone: resolver files, and what web servers' files show. Pure; no network, and no agent.

One table: a new conclusion is one function and one line. What it says is provable from the files, whatever DNS says.
"""

from collections.abc import Callable, Iterator
from itertools import islice

from certagent.domain import catalogue
from certagent.domain.diagnosis.static import hosts, managed, nsswitch, resolv_conf
from certagent.domain.diagnosis.static.observation import StaticObservation
from certagent.domain.findings import Culprit, Finding, Vantage

__all__ = ["StaticObservation", "TABLE", "WATCHED", "conclude_statically", "conclude_while_watching"]

MOST_OF_A_KIND = 500
_MOST_WATCHED = 20

Conclusion = Callable[[StaticObservation], Iterator[Finding]]


def references_dangle(look: StaticObservation) -> Iterator[Finding]:
    """deploy.dangling_reference: what a web server's files name and nobody defines."""
    for cause in look.gateways:
        place = cause.place
        yield catalogue.finding(
            cause.code,
            vantage=Vantage.STATIC,
            reporter=look.node,
            culprit=Culprit(node=look.node, file=place.file, line=place.line, text=place.text),
            variant=cause.variant,
            **cause.facts,
        )


TABLE: tuple[Conclusion, ...] = (
    resolv_conf.nobody_is_named,
    nsswitch.sources_are_missing,
    hosts.names_loop_back,
    hosts.lines_contradict,
    references_dangle,
    resolv_conf.public_servers_are_asked,
    managed.hosts_lines_will_go,
    managed.settings_will_go,
    managed.sections_are_torn,
    nsswitch.file_is_given_up,
    hosts.lines_say_nothing,
    resolv_conf.words_say_nothing,
    nsswitch.sources_are_foreign,
)
WATCHED: tuple[Conclusion, ...] = (resolv_conf.public_servers_are_asked, managed.hosts_lines_will_go)
"""What the watch says as well: whatever else is wrong in the files, it learns from what names lead to."""


def conclude_statically(look: StaticObservation) -> list[Finding]:
    """Everything that the files prove, of each kind no more than anybody reads; not graded yet."""
    return [finding for conclusion in TABLE for finding in islice(conclusion(look), MOST_OF_A_KIND)]


def conclude_while_watching(look: StaticObservation) -> list[Finding]:
    """What an agent says of its node's files besides what it says of names; not graded yet, and bounded."""
    concluded = (finding for conclusion in WATCHED for finding in conclusion(look))
    return list(islice(concluded, _MOST_WATCHED))
