"""What the CA answers, read: its documents as values. Nothing here asks for anything."""

import msgspec
import requests

from certagent.domain.orders import Authorization, Order, Problem
from certagent.issuance.patience import seconds_of


class Meta(msgspec.Struct, frozen=True):
    """Of the directory's metadata what is used: the CA's profiles, name -> description."""

    profiles: dict[str, str] = {}


class Directory(msgspec.Struct, frozen=True, rename="camel"):
    """RFC 8555 section 7.1.1, as much of it as is used."""

    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str | None = None
    renewal_info: str | None = None
    meta: Meta = Meta()


def retry_after_of(response: requests.Response) -> float | None:
    """In seconds, None where the CA asks for nothing."""
    return seconds_of(response.headers.get("Retry-After"), response.headers.get("Date"))


def read_problem(response: requests.Response) -> Problem:
    """The CA's problem document, or what stands for one."""
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except msgspec.MsgspecError:
        problem = Problem(detail=f"HTTP {response.status_code} without a problem document")
    return msgspec.structs.replace(problem, status=response.status_code)


def read_order(response: requests.Response, url: str = "") -> Order:
    """RFC 8555 section 7.1.3, with what the headers say."""
    return msgspec.structs.replace(
        msgspec.json.decode(response.content, type=Order),
        url=url or response.headers["Location"],
        retry_after=retry_after_of(response),
    )


def read_authorization(response: requests.Response, url: str) -> Authorization:
    """RFC 8555 section 7.1.4, likewise."""
    return msgspec.structs.replace(
        msgspec.json.decode(response.content, type=Authorization),
        url=url,
        retry_after=retry_after_of(response),
    )
