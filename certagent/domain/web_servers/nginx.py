"""nginx: what becomes of a challenge by its configuration, as the observation that diagnosis reads. Pure."""

from collections.abc import Iterator, Sequence

from certagent.domain.catalogue import Fact
from certagent.domain.observations import Misconfiguration, Place, ServerAction, WebServerObservation
from certagent.domain.web_servers import ASKED
from certagent.domain.web_servers.nginx_answers import RequestResult
from certagent.domain.web_servers.nginx_locations import split_match
from certagent.domain.web_servers.nginx_patterns import UndecidedError, search
from certagent.domain.web_servers.nginx_request import possible_answers
from certagent.domain.web_servers.nginx_servers import Listener, choose_server, find_listeners, find_socket
from certagent.domain.web_servers.nginx_syntax import Directive, walk
from certagent.domain.web_servers.nginx_variables import Request

SERVER = "nginx"
_NOWHERE = Place(file="")


def judge(
    configuration: Sequence[Directive], name: str, port: int = 80, address: str | None = None
) -> tuple[WebServerObservation, ...]:
    """What may become of the challenge of `name` on that port of `address` (None: not known); one observation where
    configuration and request decide, none where no server listens on the port."""
    request = Request(name=name, port=port, address=address)
    found: list[WebServerObservation] = []
    for observation in _observations(configuration, request):
        if observation not in found:
            found.append(observation)
    return tuple(found)


def find_hard_patterns(configuration: Sequence[Directive], name: str) -> Iterator[Misconfiguration]:
    """config.unreadable: patterns that PCRE refuses or gives up, tried on the host `name` and on the challenge's path.
    nginx answers with 500 where it gives up, and what certagent concludes goes without them."""
    for directive in walk(tuple(configuration)):
        for pattern, text in _patterns_of(directive, name):
            try:
                search(pattern, text)
            except UndecidedError as unknown:
                facts: dict[str, Fact] = {"reason": str(unknown)}
                yield Misconfiguration(code="config.unreadable", place=directive.place, variant="pattern", facts=facts)


def _patterns_of(directive: Directive, name: str) -> Iterator[tuple[str, str]]:
    if directive.name == "server_name":
        yield from ((word[1:], name) for word in directive.args if word.startswith("~"))
    if directive.name == "location" and directive.args:
        kind, pattern = split_match(directive)
        if kind in ("~", "~*"):
            yield pattern, ASKED
    if directive.name == "rewrite" and directive.args:
        yield directive.args[0], ASKED


def answers(configuration: Sequence[Directive], request: Request) -> list[RequestResult]:
    """Everything that may become of the request; none where no server listens on the port."""
    http, listeners = _listeners(configuration, request.port)
    found: list[RequestResult] = []
    for socket in _sockets(listeners, request.address):
        if socket is None:
            found.append(RequestResult(action=ServerAction.UNKNOWN))
        elif not socket:
            found.append(RequestResult(action=ServerAction.REFUSES, status=-1, place=listeners[0].listen.place))
        else:
            found += _at(http, socket, request)
    return list(dict.fromkeys(found))


def _listeners(configuration: Sequence[Directive], port: int) -> tuple[Directive, list[Listener]]:
    blocks = [one for one in configuration if one.name == "http"]
    if not blocks:
        return Directive("http", (), _NOWHERE), []
    return blocks[0], find_listeners([one for one in blocks[0].block if one.name == "server"], port)


def _sockets(listeners: Sequence[Listener], address: str | None) -> Iterator[tuple[Listener, ...] | None]:
    """The socket that takes the connection, () for none; where the address is not known, each; None: undecided."""
    if not listeners:
        return
    if address is None:
        for candidate in dict.fromkeys(one.address for one in listeners):
            yield tuple(one for one in listeners if one.address == candidate)
        return
    try:
        yield find_socket(listeners, address)
    except (UndecidedError, ValueError):
        yield None


def _at(http: Directive, socket: tuple[Listener, ...], request: Request) -> list[RequestResult]:
    closing = next((one.listen for one in socket if one.has("proxy_protocol")), None)
    if closing is not None:  # a client without that header gets no answer
        return [RequestResult(action=ServerAction.CLOSES, status=0, place=closing.place, target="proxy_protocol")]
    try:
        chosen = choose_server(socket, request.name, request.hostname)
    except UndecidedError as unknown:
        return [RequestResult(action=ServerAction.UNKNOWN, target=str(unknown))]
    return possible_answers(http, chosen, request)


def _observations(configuration: Sequence[Directive], request: Request) -> Iterator[WebServerObservation]:
    _, listeners = _listeners(configuration, request.port)
    for answer in answers(configuration, request):
        causes = tuple(_causes(answer, listeners, request.port))
        if answer.action is ServerAction.UNKNOWN:
            causes = tuple(find_hard_patterns(configuration, request.name))
        is_shown = answer.action not in (ServerAction.UNKNOWN, ServerAction.REFUSES)
        yield WebServerObservation(
            server=SERVER,
            action=answer.action,
            status=answer.status,
            place=answer.place,
            target=answer.target if is_shown else None,
            host=answer.host,
            causes=causes,
        )


def _causes(answer: RequestResult, listeners: Sequence[Listener], port: int) -> Iterator[Misconfiguration]:
    """A plain request at a socket that wants TLS."""
    line = next((one.listen for one in listeners if one.has("ssl") and one.listen.place == answer.place), None)
    if line is not None:
        yield Misconfiguration(code="http01.tls_on_80", place=line.place, variant="configured", facts={"port": port})
