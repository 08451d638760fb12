"""RFC 8555's resources as values, and what became of an order. The CA's problems are values, too. Pure."""

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

import msgspec

_Instant = Annotated[datetime, msgspec.Meta(tz=True)]  # RFC 3339 knows no other
_URN = "urn:ietf:params:acme:error:"


class Status(StrEnum):
    """RFC 8555 section 7.1.6: the states of accounts, orders, authorizations and challenges."""

    PENDING = "pending"
    PROCESSING = "processing"
    READY = "ready"
    VALID = "valid"
    INVALID = "invalid"
    DEACTIVATED = "deactivated"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Resource(StrEnum):
    """What a problem is about."""

    DIRECTORY = "directory"
    ACCOUNT = "account"
    ORDER = "order"
    AUTHORIZATION = "authorization"
    CHALLENGE = "challenge"
    FINALIZE = "finalize"
    CERTIFICATE = "certificate"


class Identifier(msgspec.Struct, frozen=True):
    """RFC 8555 section 9.7.7, and RFC 8738 for type "ip"."""

    type: str
    value: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The CA's problem document (RFC 8555 section 6.7), with the resource it is about. `status` is HTTP's."""

    type: str = "about:blank"
    detail: str = ""
    status: int | None = None
    identifier: Identifier | None = None
    subproblems: tuple["Problem", ...] = ()
    resource: Resource | None = None

    @property
    def kind(self) -> str:
        """The type without RFC 8555's prefix: "connection", "rateLimited", ..."""
        return self.type.removeprefix(_URN)

    def about(self, resource: Resource, identifier: Identifier | None = None) -> "Problem":
        """The same problem, told of a resource."""
        return msgspec.structs.replace(self, resource=resource, identifier=identifier or self.identifier)


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 8555 section 8. Asking for `url` by POST makes the CA try it: only to try, never to look."""

    type: str
    url: str
    status: Status
    token: str = ""
    error: Problem | None = None


class Authorization(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 8555 section 7.1.4. `url` and `retry_after` (seconds) come from the answer's headers."""

    identifier: Identifier
    status: Status
    challenges: tuple[Challenge, ...]
    wildcard: bool = False
    url: str = ""
    retry_after: float | None = None

    def challenge(self, kind: str) -> Challenge | None:
        """The offered challenge of that type."""
        return next((challenge for challenge in self.challenges if challenge.type == kind), None)

    def state(self, kind: str) -> Status:
        """Where it stands by its challenge of that type. step-ca leaves an authorization `pending` although its
        challenge is `invalid`, which is final (RFC 8555 section 7.1.6)."""
        challenge = self.challenge(kind)
        is_lost = challenge is not None and challenge.status is Status.INVALID
        return Status.INVALID if is_lost else self.status

    def problem(self, kind: str) -> Problem | None:
        """Why its challenge of that type failed the last time it was tried, if it did."""
        challenge = self.challenge(kind)
        error = challenge.error if challenge else None
        return error.about(Resource.CHALLENGE, self.identifier) if error else None


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 8555 section 7.1.3. `url` and `retry_after` (seconds) come from the answer's headers.

    `notBefore` and `notAfter` are the certificate's, where the CA has fixed them with the order: step-ca always does.
    """

    status: Status
    identifiers: tuple[Identifier, ...]
    authorizations: tuple[str, ...]
    finalize: str
    expires: datetime | None = None
    not_before: _Instant | None = msgspec.field(default=None, name="notBefore")
    not_after: _Instant | None = msgspec.field(default=None, name="notAfter")
    certificate: str | None = None
    error: Problem | None = None
    url: str = ""
    retry_after: float | None = None

    def is_worth_taking_up(self, age: timedelta) -> bool:
        """Whether a certificate of it would have more than half of its life before it, that long after it was placed.

        Past `notAfter` step-ca fails inside at every attempt to finalize (a 500 without a reason), for as long as the
        order itself is kept, a day; and what it issues shortly before is due again at once.
        """
        if self.not_before is None or self.not_after is None:
            return True
        return abs(age) < (self.not_after - self.not_before) / 2  # a clock that was set back says nothing of it


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account's private key (PEM) and its URL, None until the CA has registered it."""

    key_pem: str
    url: str | None = None

    def __repr__(self) -> str:
        return f"Account(url={self.url!r})"


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """External account binding (RFC 8555 section 7.3.4): what the CA's operator gave out. `hmac_key` is base64url."""

    key_id: str
    hmac_key: str

    def __repr__(self) -> str:
        return f"Binding(key_id={self.key_id!r})"


class OrderOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an order asks for beside its identifiers: how long to live from now, a profile of the CA's, and which
    certificate it replaces (RFC 9773 section 4.1). A profile and a predecessor are named only where the directory
    offers them."""

    lifetime: timedelta | None = None
    profile: str | None = None
    replaces: str | None = None


class PendingOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What has to survive a crash: which order, for which identifiers, and the certificate's private key (PEM)."""

    url: str
    directory: str
    identifiers: tuple[str, ...]
    key_type: str
    key_pem: str
    placed_at: datetime

    def __repr__(self) -> str:
        return f"PendingOrder(url={self.url!r}, identifiers={self.identifiers!r})"


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """The order's good end: the certificate's private key and its chain, leaf first, without the root; PEM."""

    order_url: str
    key_pem: bytes
    chain_pem: bytes
    took: timedelta

    def __repr__(self) -> str:
        return f"Issued(order_url={self.order_url!r}, took={self.took!r})"


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """The CA said no. `code` is the finding's; `problems` the CA's own words, one per failed identifier.

    `can_retry`: the order is still pending at the CA and kept, and the next attempt takes it up again; that is so
    after an http-01 fetch that did not come about (the challenge stays pending with an error), and after an error of
    the CA's own. Otherwise it is lost.
    """

    code: str
    problems: tuple[Problem, ...]
    order_url: str | None = None
    can_retry: bool = False
    retry_after: timedelta | None = None  # as the CA asked for
    took: timedelta = timedelta()


OrderOutcome = Issued | Failed

_CODES = {
    "rateLimited": "acme.rate_limited",
    "serverInternal": "acme.server_internal",
    "badCSR": "acme.bad_csr",
    "badPublicKey": "acme.bad_csr",
    "externalAccountRequired": "ca.eab_required",
    "accountDoesNotExist": "ca.account_unknown",
    "rejectedIdentifier": "ca.policy_denies",
    "unsupportedIdentifier": "ca.policy_denies",
    "caa": "ca.policy_denies",
    "orderNotReady": "acme.authorization_stuck",
    "invalidProfile": "ca.policy_denies",
    "alreadyReplaced": "acme.failed",
}
_LIFETIME = re.compile(r"\b(not_?(before|after)|certificate (duration|lifetime)|validity (period|duration))\b", re.I)
"""How CAs say that a certificate must not live so long, or so short; there is no problem type for it."""
_MISMATCHES = {"rejectedIdentifier", "incorrectResponse", "unauthorized"}
"""How CAs say that a challenge was answered with the wrong content; step-ca says the first."""


def code_of(problem: Problem) -> str:
    """The finding's code for what the CA answered; for a challenge, that of its final failure."""
    if problem.resource is not Resource.CHALLENGE and _LIFETIME.search(problem.detail or ""):
        return "ca.lifetime_denied"
    if problem.status is not None and problem.status >= 500:
        return "acme.server_internal"
    if problem.resource is Resource.CHALLENGE:
        return "acme.mismatch_final" if problem.kind in _MISMATCHES else "acme.failed"
    return _CODES.get(problem.kind, "acme.failed")
