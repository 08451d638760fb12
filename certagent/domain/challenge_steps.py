"""The steps of a challenge by its type: which port the CA asks, and how each step is worded. Pure."""

from collections.abc import Sequence

import msgspec

from certagent.domain.rehearsals import ACME_TLS, CHALLENGE_PATH, Hop

_ERRORS = {
    "refused": "connection refused",
    "timeout": "no answer: packets are dropped",
    "no_route": "no route",
    "reset": "connection cut",
    "tls": "speaks TLS, not HTTP",
    "protocol": "does not speak HTTP",
    "redirect_offsite": "redirects off the fleet: not followed",
    "redirect_proxied": "redirects to where the CA goes through its HTTPS_PROXY: not followed",
    "redirect_loop": "redirects in a circle",
    "unresolved": "redirects to a name without an address",
    "no_protocol": f"ends TLS itself, without {ACME_TLS}",
}
_LAYERS = {"alpn.": "tls-alpn-01", "dns01.": "dns-01"}
"""Layers of finding codes that only that challenge has."""


class ChallengeSteps(msgspec.Struct, frozen=True, kw_only=True):
    """What box and responder do. `port`: where the CA asks the box; None where it asks none. `came`, `missed`: what a
    rehearsal shows of the responder."""

    port: int | None
    passes_on: str = ""
    responds: str
    came: str
    missed: str


STEPS = {
    "http-01": ChallengeSteps(
        port=80,
        passes_on=f"port 80 passes {CHALLENGE_PATH}",
        responds="serves the token",
        came="the token came back",
        missed="never asked: the token did not come",
    ),
    "tls-alpn-01": ChallengeSteps(
        port=443,
        passes_on=f"port 443 passes {ACME_TLS} on unopened",
        responds="presents the challenge certificate",
        came="its challenge certificate came",
        missed="never asked: its certificate did not come",
    ),
    "dns-01": ChallengeSteps(
        port=None,
        responds="writes the record",
        came="its record was found",
        missed="its record was not found",
    ),
}


def challenge_of(codes: Sequence[str]) -> str:
    """The challenge that findings of these codes are about, as far as they show it."""
    layers = (layer for code in codes for layer in _LAYERS if code.startswith(layer))
    return next((_LAYERS[layer] for layer in layers), "http-01")


def answer_words(hop: Hop) -> str:
    """What a box did when it was asked."""
    if hop.error == "tls" and hop.url.startswith("acme-tls:"):
        return "does not complete a TLS handshake"
    if hop.error is not None:
        return _ERRORS.get(hop.error, hop.error)
    if hop.alpn is not None:
        return f"presents a certificate for {', '.join(hop.certificate_names) or 'no name'}"
    return f"answers {hop.status}"
