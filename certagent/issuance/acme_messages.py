"""What the agent asks of the process that speaks ACME, and what that answers. Values only; without the ACME package."""

from datetime import datetime

import msgspec

from certagent.domain.orders import Account, Binding, Challenge, Identifier, Problem


class PlaceOrder(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An order (RFC 8555 section 7.4), with those of the options that the directory offers. Answer: `Order`."""

    identifiers: tuple[Identifier, ...]
    not_after: datetime | None = None
    profile: str | None = None
    replaces: str | None = None


class LookAtOrder(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Answer: `Order`."""

    url: str


class LookAtAuthorization(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Answer: `Authorization`."""

    url: str


class Validate(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Have the challenge validated; the CA may take that many seconds to say so. Answer: `Validated`."""

    challenge: Challenge
    within: float


class Validated(msgspec.Struct, frozen=True, kw_only=True):
    """None: the CA has not said in time what became of it."""

    challenge: Challenge | None


class Finalize(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Of the order at `order_url`, at its own `url`, with a signing request in DER form. Answer: `Order`."""

    url: str
    order_url: str
    signing_request: bytes


class Download(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A chain. Answer: its bytes."""

    url: str


class Revoke(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Both PEM; the reason is RFC 5280's (section 5.3.1). Answer: null."""

    key_pem: bytes
    chain_pem: bytes
    reason: int

    def __repr__(self) -> str:
        return f"Revoke(reason={self.reason!r})"


Ask = PlaceOrder | LookAtOrder | LookAtAuthorization | Validate | Finalize | Download | Revoke


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask, and how to reach and to trust it: its directory's URL, files with its roots, its addresses."""

    directory: str
    roots: tuple[str, ...]
    addresses: tuple[str, ...]
    binding: Binding | None = None


class AcmeQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """The account is registered first if it has no URL."""

    authority: Authority
    account: Account
    ask: Ask


class AcmeReply(msgspec.Struct, frozen=True, kw_only=True):
    """`account_url` as it is now. Then the answer, or the CA's refusal (with the seconds after which to ask again), or
    why there is no answer: `unreachable` of the CA's, `broken` of this node's."""

    account_url: str | None
    answer: msgspec.Raw = msgspec.Raw(b"\xc0")
    problem: Problem | None = None
    retry_after: float | None = None
    unreachable: str | None = None
    broken: tuple[int | None, str | None] | None = None
