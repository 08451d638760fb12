"""The evidence that conclusions are drawn from, and how it is put into words. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from certagent.domain import catalogue
from certagent.domain.catalogue import Fact
from certagent.domain.diagnosis.web_server_blame import explains
from certagent.domain.dns01_record import Publication
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.observations import (
    ListeningSocket,
    NodeObservation,
    PastRehearsal,
    ServerAction,
    WebServerObservation,
)
from certagent.domain.rehearsals import (
    Attempt,
    ChallengeType,
    Hop,
    Origin,
    Rehearsal,
    RehearsalOutcome,
    Resolution,
    ResolvedAddress,
    deciding,
)
from certagent.domain.resolution.file_formats import leads_to_itself


class DirectoryCheck(msgspec.Struct, frozen=True, kw_only=True):
    """How the CA's directory answered this node: by name first, then at each configured address.

    `error`: null, "refused", "timeout", "no_route", "unresolved", "reset", "untrusted", "root_changed", "expired",
    "name_mismatch", "http_status", "unhealthy" (it answers that it fails).
    """

    url: str
    address: str | None = None  # the address connected to; null if the name has no address
    by_address: bool = False  # a configured fallback address, not one of the name's own
    error: str | None = None
    status: int | None = None
    detail: str = ""
    ahead_seconds: float | None = None  # the CA's Date minus this node's clock, to the second


class ResponderCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Whether this node's own responder answered the planted token on this node. `detail`: the answer that came
    instead.

    `file`: the file that is served in its place, where no responder of certagent listens. For dns-01, `listen` is the
    zone's server (or the program that presents the record), and `publication` the result of writing the record there.
    `changeable`: the folder, owner and mode of where others can lead `file` elsewhere, so that it is not used.
    `withheld`: why the agent next to the CA need not be asked now.
    """

    listen: str
    answered: bool
    detail: str = ""
    challenge: str = ChallengeType.HTTP01
    file: str | None = None
    changeable: Mapping[str, str] = {}
    publication: Publication | None = None
    withheld: str = ""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All observations about one identifier. `node` draws the conclusions; `addresses` are its own.

    `looked_up`: a resolution observed on this node without a rehearsal (the file watch next to the CA has nothing
    else). `here`: how the acting node resolves names itself. `gateways`: what the configurations of its web servers
    contain. `past`: the latest rehearsals, this one included.
    """

    identifier: str
    node: str
    addresses: tuple[str, ...] = ()
    rehearsal: Rehearsal | None = None
    looked_up: Resolution | None = None
    responder: ResponderCheck | None = None
    directory: tuple[DirectoryCheck, ...] = ()
    here: NodeObservation | None = None
    gateways: tuple[WebServerObservation, ...] = ()
    past: tuple[PastRehearsal, ...] = ()

    @property
    def resolution(self) -> Resolution | None:
        """The identifier's name as the CA resolves it."""
        return self.looked_up or (self.rehearsal.resolution if self.rehearsal else None)

    @property
    def looker(self) -> str:
        """The node that observed: the CA's, if there was a rehearsal."""
        return (self.rehearsal.node if self.rehearsal else None) or self.node

    @property
    def has_failed(self) -> bool:
        """Whether there was a rehearsal and it failed."""
        return self.rehearsal is not None and self.rehearsal.outcome is RehearsalOutcome.FAILED

    @property
    def is_well(self) -> bool:
        """Whether the rehearsal passed, the responder answers here, and so does the CA at every address."""
        answers = self.responder is not None and self.responder.answered
        return self.has_passed and answers and not any(check.error for check in self.directory)

    def with_listeners(self, listeners: tuple[ListeningSocket, ...]) -> "Evidence":
        """And with who listens on this node, if anything is known of it."""
        here = msgspec.structs.replace(self.here, listeners=listeners) if self.here is not None else None
        return msgspec.structs.replace(self, here=here)

    @property
    def has_passed(self) -> bool:
        """Whether there was a rehearsal and it passed."""
        return self.rehearsal is not None and self.rehearsal.outcome is RehearsalOutcome.PASSED

    @property
    def challenge(self) -> str:
        """The type of the challenge that the certificate's configuration asks for."""
        if self.rehearsal is not None:
            return self.rehearsal.challenge
        return self.responder.challenge if self.responder is not None else ChallengeType.HTTP01

    def attempt(self) -> Attempt | None:
        """The http-01 fetch that decided; the one without the CA's proxy, if that fails as well."""
        if self.rehearsal is None or self.rehearsal.challenge != ChallengeType.HTTP01:
            return None
        return deciding(self.rehearsal.direct if self.fails_without_proxy() else self.rehearsal.attempts)

    def fails_without_proxy(self) -> bool:
        """Whether the CA uses a proxy, and what fails through it also fails without it."""
        direct = self.rehearsal.direct if self.rehearsal is not None else ()
        return bool(direct) and not direct[-1].matched

    def first_address(self) -> str | None:
        """The address that the CA asked first in the deciding attempt."""
        hop = self.first_hop()
        return hop.address if hop is not None else None

    def first_hop(self) -> Hop | None:
        """The first hop of the deciding attempt, by HTTP or TLS; dns-01 has none."""
        attempt = self.attempt()
        if self.rehearsal is not None and self.rehearsal.challenge == ChallengeType.TLS_ALPN01:
            attempt = next(reversed(self.rehearsal.attempts), None)
        return attempt.hops[0] if attempt is not None and attempt.hops else None

    def reaches_this_node(self) -> bool:
        """Whether that address belongs to the acting node."""
        return self.first_address() in self.addresses

    def answered_with_success(self) -> bool:
        """Whether the deciding attempt ended with a successful status."""
        attempt = self.attempt()
        return attempt is not None and bool(attempt.hops) and (attempt.hops[-1].status or 999) < 400

    def somebody_answered(self) -> bool:
        """Whether there was any HTTP response."""
        attempt = self.attempt()
        return attempt is not None and bool(attempt.hops) and attempt.hops[0].status is not None

    def has_no_way_out(self) -> bool:
        """Whether the observing node's own routes or packet filter keep it from the first address."""
        hop = self.first_hop()
        return hop is not None and hop.is_local

    def started_by(self, what: str) -> Origin | None:
        """Return the line of the CA's unit that sets a flag or variable beginning with `what`."""
        lines = self.rehearsal.started_by if self.rehearsal is not None else ()
        return next((line for key, line in lines if key.startswith(what)), None)

    def gateway(self) -> WebServerObservation | None:
        """What the web server of this node does, if the rehearsal failed at an address of this node and that explains
        what the CA saw; without a line where several lines could, or where the files do not decide. What answers with
        exactly that status goes before what may answer with any."""
        hop = self.first_hop()
        if not self.has_failed or self.deciding_line() is not None or hop is None or not self.reaches_this_node():
            return None
        check = self.responder
        responder = check.listen if check is not None and check.answered else None
        explaining = [one for one in self.gateways if explains(one, hop, responder)]
        explaining = [one for one in explaining if one.status == hop.status is not None] or explaining
        undecided = [one for one in self.gateways if one.action is ServerAction.UNKNOWN and hop.status is not None]
        if len({one.place for one in explaining}) == 1:
            return explaining[0]
        first = next(iter((*explaining, *undecided)), None)
        return msgspec.structs.replace(first, action=ServerAction.UNKNOWN, place=None) if first is not None else None

    def owner(self, address: str | None) -> tuple[str | None, str | None]:
        """Return node and role of an address by the fleet's inventory; (None, None) if it is unknown."""
        owner = self.rehearsal.owners.get(address) if self.rehearsal and address else None
        if owner is not None:
            return owner.node, owner.role
        return (self.node, None) if address in self.addresses else (None, None)

    def place(self, address: str | None) -> str:
        """Return `10.0.0.153 (lxc101, gateway)`, as much of it as is known."""
        node, role = self.owner(address)
        known = ", ".join(part for part in (node, role) if part)
        return f"{address or 'nowhere'} ({known})" if known else f"{address or 'nowhere'}"

    def finding(
        self,
        code: str,
        culprit: Culprit | None,
        *,
        vantage: Vantage = Vantage.AUTHORITY,
        variant: str = "",
        detail: Mapping[str, Any] | None = None,
        **facts: Fact,
    ) -> Finding:
        """Return a finding about this identifier: from the CA's vantage, or from this node's own."""
        return catalogue.finding(
            code,
            vantage=vantage,
            reporter=self.looker if vantage is Vantage.AUTHORITY else self.node,
            identifier=self.identifier,
            culprit=culprit,
            detail=detail,
            variant=variant,
            **facts,
        )

    def sends_ca_to_itself(self) -> bool:
        """Whether the name of another node than the CA's leads the CA to itself, and nothing shows that to be right."""
        resolution = self.resolution
        if self.rehearsal is None or self.has_passed or resolution is None or self.looker == self.node:
            return False
        used = next(iter(resolution.addresses), None)
        met = self.first_address()
        return used is not None and leads_to_itself(used.address) and (met is None or leads_to_itself(met))

    def deciding_line(self) -> ResolvedAddress | None:
        """Return the hosts line that sent the CA elsewhere than DNS says, if there is one; where DNS returns
        nothing, one that sent it to another node's address, where it failed."""
        return decides_against_dns(self.resolution) or self._line_to_another_node()

    def _line_to_another_node(self) -> ResolvedAddress | None:
        resolution = self.resolution
        used = next(iter(resolution.addresses), None) if resolution is not None else None
        if resolution is None or used is None or used.origin.source != "hosts":
            return None
        if self.sends_ca_to_itself():
            return used
        is_told = any(reply.addresses for reply in resolution.dns)
        is_elsewhere = self.has_failed and self.owner(used.address)[0] not in (None, self.node)
        return used if is_elsewhere and not is_told else None

    def path_culprit(self, address: str | None) -> Culprit:
        """Return the culprit for what happened at `address`: the line that led there, or else the line of its web
        server that decides, or else the node that owns it."""
        line = self.deciding_line()
        node, role = self.owner(address)
        if line is None and self.has_no_way_out() and node is not None:
            return Culprit(node=self.looker, address=address, role=role)
        look = self.gateway()
        if look is not None and look.place is not None and address == self.first_address():
            place = look.place
            return Culprit(
                node=self.node, file=place.file, line=place.line, text=place.text, address=address, role=role
            )
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


def decides_against_dns(resolution: Resolution | None) -> ResolvedAddress | None:
    """Return the hosts line that is used although every nameserver returns something else."""
    if resolution is None or not resolution.addresses or resolution.addresses[0].origin.source != "hosts":
        return None
    answers = {answer for reply in resolution.dns for answer in reply.addresses}
    used = resolution.addresses[0]
    return used if answers and used.address not in answers else None


def chain_of(hops: tuple[Hop, ...]) -> list[dict[str, object]]:
    """Return the chain as facts: who answered what at which address, or the error that came instead."""
    return [_facts_of(hop) for hop in hops]


def _facts_of(hop: Hop) -> dict[str, object]:
    if hop.error is not None:
        return {"name": hop.name, "address": hop.address, "trouble": hop.errno or hop.error}
    server = hop.server or "a server"
    return {"server": server, "address": hop.address, "http_status": hop.status, "location": hop.location}
