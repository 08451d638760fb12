"""http-01 without a responder: a web server answers every token with the account's thumbprint (RFC 8555 section 8.1).

Nothing is presented or planted, neither for an order nor for a rehearsal: the rehearsal requests a token of its own and
compares the response with what the server has to answer. That has the form of a key authorization, but for a token that
no CA issued; and the rehearsal's request carries only its SHA-256, as always.
"""

import asyncio
from pathlib import Path

from certagent.domain.diagnosis.evidence import ResponderCheck
from certagent.domain.orders import Challenge
from certagent.domain.rehearsals import RehearsalRequest
from certagent.system.files import read_file

_SNIPPET = """\
# certagent's http-01 challenge without a responder. Include it in the port-80 `server` of every name whose certificate
# certagent looks after here. The thumbprint is public; it is another one only when the account's key is.
location ~ ^/\\.well-known/acme-challenge/([A-Za-z0-9_-]+)$ {{
    default_type text/plain;
    keepalive_timeout 0;  # the CA must not validate over a connection that it kept
    return 200 "$1.{thumbprint}";
}}
"""


def snippet(thumbprint: str) -> str:
    """Return the configuration that nginx has to include."""
    return _SNIPPET.format(thumbprint=thumbprint)


class Stateless:
    """The solver of certificates whose names are served by such a web server. `file`: the snippet, if it is on this
    node."""

    challenge_type = "http-01"

    def __init__(self, file: Path | None, thumbprint: str) -> None:
        self._file = file
        self._thumbprint = thumbprint

    def rehearsed(self, token: str, secret: str) -> str:
        """Return the expected response for a rehearsal's token: what the CA would accept, and so without a secret."""
        del secret
        return f"{token}.{self._thumbprint}"

    async def present(self, identifier: str, challenge: Challenge, key_authorization: str) -> None:
        """See `certagent.issuance.order.Solver`: the answer is visible already."""

    async def clean_up(self, identifier: str, challenge: Challenge) -> None:
        """See `certagent.issuance.order.Solver`: the answer stays."""

    async def show(self, request: RehearsalRequest, body: str) -> None:
        """Do nothing: the answer is visible already."""

    async def withdraw(self, request: RehearsalRequest) -> None:
        """Do nothing: the answer stays."""

    async def answers(self, request: RehearsalRequest) -> ResponderCheck:
        """Return whether the snippet on this node contains the account's thumbprint. Whether a server has loaded it
        is shown by the rehearsal."""
        del request
        detail = await asyncio.to_thread(self._trouble) if self._file is not None else ""
        where = str(self._file or "the web server")
        return ResponderCheck(
            listen=where, file=str(self._file) if self._file else None, answered=not detail, detail=detail
        )

    def _trouble(self) -> str:
        assert self._file is not None  # noqa: S101 # the caller asked
        try:
            content = read_file(self._file)
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        if content is None:
            return "it does not exist; `certagent account` prints it"
        is_ours = self._thumbprint.encode() in content
        return "" if is_ours else f"its thumbprint is not this account's, {self._thumbprint}"
