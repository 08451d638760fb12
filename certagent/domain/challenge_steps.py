"""The steps of a challenge by its type: which port the CA asks, and how each step is worded. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from certagent.domain.probe_errors import HOP_LABELS, ProbeError
from certagent.domain.rehearsals import ACME_TLS, CHALLENGE_PATH, ChallengeType, Hop

_LAYERS = {"alpn.": ChallengeType.TLS_ALPN01, "dns01.": ChallengeType.DNS01}
"""Layers of finding codes that only that challenge has."""


class ChallengeSteps(msgspec.Struct, frozen=True, kw_only=True):
    """What box and responder do. `port`: where the CA asks the box; None where it asks none. `came`, `missed`: what a
    rehearsal shows of the responder."""

    port: int | None
    passes_on: str = ""
    responds: str
    came: str
    missed: str


STEPS: Mapping[str, ChallengeSteps] = {
    ChallengeType.HTTP01: ChallengeSteps(
        port=80,
        passes_on=f"port 80 passes {CHALLENGE_PATH}",
        responds="serves the token",
        came="the token came back",
        missed="not reached: the token was not received",
    ),
    ChallengeType.TLS_ALPN01: ChallengeSteps(
        port=443,
        passes_on=f"port 443 passes {ACME_TLS} on without terminating TLS",
        responds="presents the challenge certificate",
        came="its challenge certificate was received",
        missed="not reached: its certificate was not received",
    ),
    ChallengeType.DNS01: ChallengeSteps(
        port=None,
        responds="writes the record",
        came="its record was found",
        missed="its record was not found",
    ),
}


def challenge_of(codes: Sequence[str]) -> str:
    """The challenge that findings of these codes are about, as far as they show it."""
    layers = (layer for code in codes for layer in _LAYERS if code.startswith(layer))
    return next((_LAYERS[layer] for layer in layers), ChallengeType.HTTP01)


def answer_words(hop: Hop) -> str:
    """What a box did when it was asked."""
    if hop.error == ProbeError.TLS and hop.url.startswith("acme-tls:"):
        return "does not complete a TLS handshake"
    if hop.error is not None:
        return HOP_LABELS.get(hop.error, hop.error)
    if hop.alpn is not None:
        return f"presents a certificate for {', '.join(hop.certificate_names) or 'no name'}"
    return f"answers {hop.status}"
