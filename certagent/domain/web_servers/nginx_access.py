"""Whether nginx lets a request in: addresses, passwords, subrequests. Pure.

Facts: nginx's documentation of the access, auth_basic and auth_request modules, and of `satisfy`.
"""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from certagent.domain.web_servers.nginx_answers import Choices
from certagent.domain.web_servers.nginx_locations import inherited
from certagent.domain.web_servers.nginx_syntax import Directive
from certagent.domain.web_servers.nginx_variables import Request

Refusal = tuple[int, Directive]
"""The status, and the line that says so."""


def find_refusal(blocks: Sequence[Directive], request: Request, choices: Choices) -> Refusal | None:
    """Why the request is not let into the innermost of the blocks; None where it is."""
    is_any = any(line.args[:1] == ("any",) for line in inherited(blocks, "satisfy"))
    refusals: list[Refusal] = []
    for verdict in (
        _by_address(blocks, request, choices),
        _by_password(blocks),
        _by_subrequest(blocks, choices),
    ):
        if verdict is True and is_any:
            return None
        if not isinstance(verdict, bool):
            refusals.append(verdict)
            if not is_any:
                break
    if not refusals:
        return None
    return next((refusal for refusal in refusals if refusal[0] == 401), refusals[-1])


def _by_address(blocks: Sequence[Directive], request: Request, choices: Choices) -> Refusal | bool:
    """True: let in; False: no word about it; else the refusal."""
    for rule in inherited(blocks, "allow", "deny"):
        if rule.args and _is_client(rule.args[0], request, choices):
            return True if rule.name == "allow" else (403, rule)
    return False


def _is_client(text: str, request: Request, choices: Choices) -> bool:
    if text == "all":
        return True
    if text == "unix:":
        return False
    if request.client is None:
        return choices.choose(f"the client is in {text}")
    try:
        return ip_address(request.client) in ip_network(text, strict=False)
    except ValueError:
        return False


def _by_password(blocks: Sequence[Directive]) -> Refusal | bool:
    line = next(iter(inherited(blocks, "auth_basic")), None)
    is_on = line is not None and line.args[:1] != ("off",) and inherited(blocks, "auth_basic_user_file")
    return (401, line) if is_on and line is not None else False


def _by_subrequest(blocks: Sequence[Directive], choices: Choices) -> Refusal | bool:
    line = next(iter(inherited(blocks, "auth_request")), None)
    if line is None or line.args[:1] == ("off",):
        return False
    return True if not choices.choose(f"{line.args} refuses") else (401, line)
