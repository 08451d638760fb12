"""What a person adds to HAProxy's or Caddy's configuration, so that challenges get to the agent. Text only."""

from collections.abc import Sequence

from certagent.commands.config_template import LISTEN, Draft
from certagent.vantage.service_pairs import ServicePair

_STEPS = {
    "haproxy": (
        "in HAProxy's frontend for port 80: `use_backend certagent if {{ path_beg /.well-known/acme-challenge/ }}`,"
        " before any redirect; and `backend certagent` with `mode http` and `server agent {}`; then reload HAProxy"
    ),
    "caddy": (
        "in Caddy's configuration, a site `http://NAME` for each name, with `handle /.well-known/acme-challenge/*"
        " {{ reverse_proxy {} }}` and, for the rest, `handle {{ redir https://{{host}}{{uri}} }}`; then reload Caddy"
    ),
}


def challenge_steps(services: Sequence[ServicePair], drafts: Sequence[Draft]) -> list[str]:
    """One for each of the two that is here, while a certificate is proven by http-01 and answered behind it."""
    if not any(draft.is_managed and draft.challenge == "http-01" and draft.listen == LISTEN for draft in drafts):
        return []
    present = dict.fromkeys(pair.service for pair in services)
    return [_STEPS[service].format(LISTEN) for service in present if service in _STEPS]
