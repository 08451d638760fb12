"""What the CA answers, read: its documents as values. Nothing here asks for anything."""

import msgspec
import requests

from certagent.domain.orders import Authorization, Order, Problem
from certagent.issuance.documents import decode
from certagent.issuance.retry import AuthorityUnreachableError, seconds_of


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


def location_of(response: requests.Response) -> str:
    """Where that is which the CA has made (RFC 8555 sections 7.3 and 7.4). Raises `AuthorityUnreachableError`."""
    location = response.headers.get("Location")
    if location is None:
        raise AuthorityUnreachableError(f"{response.url} does not speak ACME: it answered without a Location")
    return location


def read_problem(response: requests.Response) -> Problem:
    """The CA's problem document, or what stands for one."""
    try:
        problem = decode(response.content, Problem)
    except msgspec.MsgspecError:
        problem = Problem(detail=f"HTTP {response.status_code} without a problem document")
    return msgspec.structs.replace(problem, status=response.status_code)


def read_order(response: requests.Response, url: str = "") -> Order:
    """RFC 8555 section 7.1.3, with what the headers say."""
    return msgspec.structs.replace(
        decode(response.content, Order),
        url=url or location_of(response),
        retry_after=retry_after_of(response),
    )


def read_authorization(response: requests.Response, url: str) -> Authorization:
    """RFC 8555 section 7.1.4, likewise."""
    return msgspec.structs.replace(
        decode(response.content, Authorization),
        url=url,
        retry_after=retry_after_of(response),
    )
