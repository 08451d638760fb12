"""Which router of Traefik takes a challenge on the plain entry point, through what, to where. Pure.

Where the files alone do not say it, the action is unknown and no line is named.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import msgspec

from certagent.domain.catalogue import Fact
from certagent.domain.observations import Misconfiguration, Place, ServerAction, WebServerObservation
from certagent.domain.web_servers import ASKED, CHALLENGE
from certagent.domain.web_servers.traefik import (
    HIGHEST,
    HIGHEST_OF_USERS,
    INTERNAL_ENTRY_POINT,
    Configuration,
    EntryPoint,
    Named,
    Redirection,
    Router,
    Service,
    bare,
    is_service_usable,
    missing_parts,
    named_in_vain,
    services_behind,
)
from certagent.domain.web_servers.traefik_middlewares import are_usable, pass_through
from certagent.domain.web_servers.traefik_rules import V2, V3, is_legal, takes

_PLAIN = 80
_INTERNAL_STATUS = {"noop": "418", "acme-http": "404", "api": "404", "ping": "200", "rest": "404"}
_REDIRECTION_RULE = "HostRegexp(`^.+$`)"
_ACME_RULE = f"PathPrefix(`{CHALLENGE}`)"
_UNKNOWN = WebServerObservation(server="traefik")


class _Route(msgspec.Struct, frozen=True, kw_only=True):
    """What may take the request, and what then becomes of it. `verdict`: whether its rule takes it."""

    rank: int
    verdict: bool | None
    outcome: WebServerObservation


def judge(configuration: Configuration, name: str, address: str | None = None) -> WebServerObservation | None:
    """What becomes of the challenge of `name` on port 80 of `address` (None: not known); None when no entry point is
    there."""
    configuration = configuration.as_loaded()
    plain = [
        one for one in configuration.entry_points if one.port == _PLAIN and one.host in (None, address or one.host)
    ]
    if not plain:
        return None
    outcome = _only([_judge_at(configuration, entry_point, name) for entry_point in plain])  # the address decides
    causes = () if outcome.entry_point is not None else tuple(_causes(configuration, plain, name))
    return msgspec.structs.replace(outcome, causes=causes)


def _judge_at(configuration: Configuration, entry_point: EntryPoint, name: str) -> WebServerObservation:
    tcp = [one for one in configuration.tcp_routers if configuration.is_on(one, entry_point.name)]
    if tcp:
        return _by_tcp(tcp[0].target, tcp[0].place) if tcp[0].rule.replace(" ", "") == "HostSNI(`*`)" else _UNKNOWN
    routes = sorted(_routes(configuration, entry_point, name), key=lambda route: -route.rank)
    possible: list[WebServerObservation] = []
    for rank, group in groupby(routes, key=lambda route: route.rank):
        if configuration.hidden is not None and rank <= HIGHEST_OF_USERS:
            return _UNKNOWN
        able = [route for route in group if route.verdict is not False]
        possible += [route.outcome for route in able]  # of one rank, Traefik's order is by chance
        if any(route.verdict for route in able):
            return _only(possible)
    if configuration.hidden is not None or (configuration.providers and configuration.refused is None):
        return _UNKNOWN
    nobody = WebServerObservation(
        server="traefik", action=ServerAction.ANSWERS, place=configuration.refused, target="404"
    )
    return _only([*possible, nobody])


def _only(possible: Sequence[WebServerObservation]) -> WebServerObservation:
    """What happens whichever of them it is."""
    first = possible[0]
    is_known = all((one.action, one.target) == (first.action, first.target) for one in possible)
    return first if is_known else _UNKNOWN


def _by_tcp(target: str | None, place: Place) -> WebServerObservation:
    if target is None:
        return _UNKNOWN
    return WebServerObservation(server="traefik", action=ServerAction.PASSES, place=place, target=target)


def _routes(configuration: Configuration, entry_point: EntryPoint, name: str) -> Iterator[_Route]:
    """All of this entry point: Traefik's own, then the files'. Those that are for TLS alone are none."""
    if entry_point.has_tls or not are_usable(configuration, entry_point.middlewares):
        return
    if entry_point.name == INTERNAL_ENTRY_POINT and configuration.api_port is not None:
        yield _Route(rank=HIGHEST - 2, verdict=True, outcome=_UNKNOWN)
    own = [named for named in entry_point.middlewares if not named.name.endswith("@internal")]
    is_left_out = any("@" not in named.name for named in own)  # a router of Traefik's own finds no such middleware
    if not is_left_out:
        yield from _own_routes(configuration, entry_point, name)
    for router in configuration.routers:
        if not router.has_tls and configuration.is_on(router, entry_point.name) and _is_built(configuration, router):
            rank = router.rank()
            if rank <= HIGHEST_OF_USERS:
                outcome = _follow(configuration, entry_point, router, name)
                yield _Route(rank=rank, verdict=_verdict(configuration, router, name), outcome=outcome)


def _own_routes(configuration: Configuration, entry_point: EntryPoint, name: str) -> Iterator[_Route]:
    challenger = next((one for one in configuration.challengers if one.name == entry_point.name), None)
    if challenger is not None:
        rank = len(_ACME_RULE) if entry_point.leaves_challenges else HIGHEST
        outcome = WebServerObservation(
            server="traefik", action=ServerAction.ANSWERS, place=challenger.place, target="404"
        )
        yield _Route(rank=rank, verdict=True, outcome=_behind(configuration, entry_point, outcome, name))
    redirection = entry_point.redirection
    if entry_point.leaves_challenges:  # the redirection, too, then leaves them to the routers, since version 3.7
        return
    if redirection is not None and (target := _target_of(configuration, redirection, name)) is not None:
        outcome = WebServerObservation(
            server="traefik",
            action=ServerAction.REDIRECTS,
            place=redirection.place,
            target=target,
            entry_point=entry_point.name,
        )
        rank = redirection.priority or len(_REDIRECTION_RULE)
        yield _Route(rank=rank, verdict=True, outcome=_behind(configuration, entry_point, outcome, name))


def _target_of(configuration: Configuration, redirection: Redirection, name: str) -> str | None:
    """Where it redirects to; None where Traefik makes no router of it."""
    named = next((one for one in configuration.entry_points if one.name == redirection.to), None)
    port = int(redirection.to[1:]) if redirection.to[1:].isdecimal() and redirection.to[:1] == ":" else None
    port = named.port if named is not None else port
    if port is None:
        return None
    shown = "" if (redirection.scheme, port) in (("https", 443), ("http", 80)) else f":{port}"
    return f"{redirection.scheme}://{name}{shown}{ASKED}"


def _behind(
    configuration: Configuration, entry_point: EntryPoint, outcome: WebServerObservation, name: str
) -> WebServerObservation:
    """What the entry point's middlewares leave of it."""
    passage = pass_through(configuration, entry_point.middlewares, name)
    if passage.action is None:
        return outcome
    if passage.action is ServerAction.REWRITES:
        target = outcome.target.replace(ASKED, passage.path) if outcome.target is not None else None
        return msgspec.structs.replace(outcome, target=target)
    return WebServerObservation(server="traefik", action=passage.action, place=passage.place, target=passage.target)


def _verdict(configuration: Configuration, router: Router, name: str) -> bool | None:
    """Whether its rule takes it. With one that it cannot read Traefik leaves the router out; a rule that only version 2
    can read, where nobody says which it is, is not known."""
    if router.is_template:
        return None
    syntax = router.syntax or configuration.syntax
    if syntax in (V2, V3):
        return takes(router.rule, name, syntax) if is_legal(router.rule, syntax) else False
    if is_legal(router.rule, V3):
        return takes(router.rule, name, V3)
    return None if takes(router.rule, name, V2) and is_legal(router.rule, V2) else False


def _is_built(configuration: Configuration, router: Router) -> bool:
    if router.service is None:
        return any(bare(parent.name) == router.name for one in configuration.routers for parent in one.parents)
    return (
        not list(missing_parts(configuration, router))
        and are_usable(configuration, router.middlewares)
        and is_service_usable(configuration, router.service)
    )


def _follow(configuration: Configuration, entry_point: EntryPoint, router: Router, name: str) -> WebServerObservation:
    """Through its middlewares to its service."""
    if router.service is None or router.parents:
        return _UNKNOWN
    passage = pass_through(configuration, (*entry_point.middlewares, *router.middlewares), name)
    done = WebServerObservation(
        server="traefik", action=passage.action or ServerAction.UNKNOWN, place=passage.place, target=passage.target
    )
    if passage.action not in (None, ServerAction.REWRITES):
        return done
    if router.service.name.endswith("@internal"):
        return _by_internal(router)
    service = _serving(configuration, router.service)
    if service is None:
        return _UNKNOWN
    if not service.servers:
        return WebServerObservation(server="traefik", action=ServerAction.ANSWERS, place=service.place, target="503")
    if passage.action is ServerAction.REWRITES:
        return done
    server = service.servers[0]
    return WebServerObservation(
        server="traefik",
        action=ServerAction.PASSES,
        place=server.place if router.is_for_challenges() else router.place,
        target=server.name,
        host=service.host or passage.host,
    )


def _by_internal(router: Router) -> WebServerObservation:
    status = _INTERNAL_STATUS.get(bare(router.service.name)) if router.service is not None else None
    if status is None:
        return _UNKNOWN
    return WebServerObservation(server="traefik", action=ServerAction.ANSWERS, place=router.place, target=status)


def _serving(configuration: Configuration, named: Named) -> Service | None:
    """The service that has the servers in the end; None where several differ, or the files do not show it."""
    found = [service for _, service in services_behind(configuration, named)]
    if any(service is None for service in found):
        return None
    last = [service for service in found if service is not None and not service.parts]
    return last[0] if last and all(service == last[0] for service in last) else None


def _causes(configuration: Configuration, plain: Sequence[EntryPoint], name: str) -> Iterator[Misconfiguration]:
    """Traefik's own ACME, then what the challenge's own routers name in vain, then where they are instead."""
    entries = {one.name for one in plain}
    for own in configuration.challengers:
        if any(own.name == one.name and not one.leaves_challenges for one in plain):
            facts: dict[str, Fact] = {"entry_point": own.name}
            yield Misconfiguration(code="http01.traefik_acme_router", place=own.place, facts=facts)
    if configuration.hidden is not None:
        return
    routers = [
        one
        for one in configuration.routers
        if one.is_for_challenges() and _verdict(configuration, one, name) is not False
    ]
    for router in routers:
        for named, kind in missing_parts(configuration, router):
            yield named_in_vain(router, named, kind)
    for router in routers:
        is_elsewhere = router.entry_points and not any(configuration.is_on(router, entry) for entry in entries)
        if is_elsewhere and not list(missing_parts(configuration, router)):
            elsewhere = router.entry_points[0]
            facts = {"router": router.name, "entry_point": elsewhere.name, "port": _PLAIN}
            yield Misconfiguration(code="http01.wrong_entrypoint", place=elsewhere.place, facts=facts)
