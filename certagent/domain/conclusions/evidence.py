"""What conclusions are drawn from, and how they are worded. Pure."""

from typing import Any

import msgspec

from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.rehearsals import Attempt, Hop, Rehearsal, RehearsalOutcome, Resolution, ResolvedAddress


class DirectoryCheck(msgspec.Struct, frozen=True, kw_only=True):
    """How the CA's directory answered this node, by name first, then by each configured address.

    `error`: null, "refused", "timeout", "no_route", "unresolved", "reset", "untrusted", "name_mismatch", "http_status".
    """

    url: str
    address: str | None = None  # where the connection went; null when the name had no address
    by_address: bool = False  # a configured fall-back address, not the name's own
    error: str | None = None
    status: int | None = None
    detail: str = ""


class ResponderCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Whether this node's own responder answered the planted token on this node. `detail`: what came instead."""

    listen: str
    answered: bool
    detail: str = ""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All observations about one identifier. `node` concludes; `addresses` are its own.

    `looked_up`: a resolution seen on this node itself, without a rehearsal (the watch beside the CA has only that).
    """

    identifier: str
    node: str
    addresses: tuple[str, ...] = ()
    rehearsal: Rehearsal | None = None
    looked_up: Resolution | None = None
    responder: ResponderCheck | None = None
    directory: tuple[DirectoryCheck, ...] = ()

    @property
    def resolution(self) -> Resolution | None:
        """The name as the CA resolves it."""
        return self.looked_up or (self.rehearsal.resolution if self.rehearsal else None)

    @property
    def looker(self) -> str:
        """The node that looked: the CA's where there was a rehearsal."""
        return (self.rehearsal.node if self.rehearsal else None) or self.node

    @property
    def has_failed(self) -> bool:
        """Whether there was a rehearsal and it failed."""
        return self.rehearsal is not None and self.rehearsal.outcome is RehearsalOutcome.FAILED

    def attempt(self) -> Attempt | None:
        """The attempt that decided: the first one in which somebody answered, else the last one."""
        attempts = self.rehearsal.attempts if self.rehearsal else ()
        answered = [attempt for attempt in attempts if attempt.hops and attempt.hops[0].status is not None]
        return answered[0] if answered else (attempts[-1] if attempts else None)

    def owner(self, address: str | None) -> tuple[str | None, str | None]:
        """(node, role) of an address, by the fleet's inventory; (None, None) where nobody knows."""
        owner = self.rehearsal.owners.get(address) if self.rehearsal and address else None
        if owner is not None:
            return owner.node, owner.role
        return (self.node, None) if address in self.addresses else (None, None)

    def place(self, address: str | None) -> str:
        """`10.0.0.153 (lxc101, gateway)`, as much of it as is known."""
        node, role = self.owner(address)
        known = ", ".join(part for part in (node, role) if part)
        return f"{address or 'nowhere'} ({known})" if known else f"{address or 'nowhere'}"

    def finding(self, code: str, explanation: str, culprit: Culprit | None, fix: str | None, **detail: Any) -> Finding:
        """A finding from beside the CA about this identifier."""
        return Finding(
            code=code,
            identifier=self.identifier,
            vantage=Vantage.AUTHORITY,
            reporter=self.looker,
            explanation=explanation,
            culprit=culprit,
            fix=fix,
            detail=detail,
        )

    def own_finding(self, code: str, explanation: str, culprit: Culprit, fix: str, **detail: Any) -> Finding:
        """A finding from this node's own view."""
        return Finding(
            code=code,
            identifier=self.identifier,
            vantage=Vantage.CLIENT,
            reporter=self.node,
            explanation=explanation,
            culprit=culprit,
            fix=fix,
            detail=detail,
        )

    def deciding_line(self) -> ResolvedAddress | None:
        """The hosts line that made the CA go elsewhere than DNS says, if one did."""
        resolution = self.resolution
        if resolution is None or not resolution.addresses or resolution.addresses[0].origin.source != "hosts":
            return None
        told = {answer for reply in resolution.dns for answer in reply.addresses}
        used = resolution.addresses[0]
        return used if told and used.address not in told else None

    def path_culprit(self, address: str | None) -> Culprit:
        """Who is to blame for what happened at `address`: the line that led there, else the node that owns it."""
        line = self.deciding_line()
        node, role = self.owner(address)
        if line is None:
            return Culprit(node=node, address=address, role=role)
        return Culprit(
            node=self.looker,
            file=line.origin.file,
            line=line.origin.line,
            text=line.origin.text,
            address=line.address,
            role=self.owner(line.address)[1],
        )


def chain_of(hops: tuple[Hop, ...]) -> str:
    """`nginx/1.22.1 at 10.0.0.153 answered 301 to https://…, then 404`: the chain in one clause."""
    return ", then ".join(_step(hop) for hop in hops)


def _step(hop: Hop) -> str:
    who = f"{hop.server or 'a server'} at {hop.address}"
    if hop.error is not None:
        return f"{hop.name} at {hop.address} gave no answer ({hop.errno or hop.error})"
    return f"{who} answered {hop.status}" + (f" to {hop.location}" if hop.location else "")
