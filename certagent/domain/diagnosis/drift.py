"""Conclusions from what is served, what is on disk, and what was last proven; also about certificates that another
program renews, and about certificates that the web servers are configured with in addition. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec

from certagent.domain import catalogue
from certagent.domain.catalogue import Fact
from certagent.domain.certificates import CertificateFacts
from certagent.domain.deployments import EndpointProof, LivePair, ServedAs
from certagent.domain.diagnosis.issued_chain import chain_ends_first
from certagent.domain.findings import Culprit, Finding, TargetState, Vantage

_LOOP_COUNT, _LOOP_SHARE = 4, 0.25
"""A certificate is issued in a loop if each of its last few successors came within this share of its lifetime."""
_LOOP_ENDED = timedelta(hours=1)
"""The loop is over when no certificate was issued for twice its longest interval, and for this long."""

_NOT_SERVED = {
    ServedAs.DEFAULT: ("deploy.default_certificate", "drift"),
    ServedAs.NOTHING: ("deploy.not_served", "drift"),
    ServedAs.OTHER: ("deploy.drift", "served"),
}
_Leaf = tuple[CertificateFacts, str, str | None, Culprit]
"""A certificate, where it was seen ("served", "on_disk", "issued"), its endpoint, and the culprit."""


class LiveTarget(msgspec.Struct, frozen=True, kw_only=True):
    """The live pair on disk at one target."""

    target: str
    pair: LivePair


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """One configured certificate at one moment. `proven`: what was last proven (None also if another program renews
    it); `seen`: the certificates that the scheduled checks met, oldest first, without those that a person requested.
    `after`: when the last renewal had ended before this check. `issuer`: where the chain comes from, if known."""

    node: str
    name: str
    identifiers: tuple[str, ...]
    at: datetime
    after: datetime | None = None
    manage: bool = True
    proven: CertificateFacts | None = None
    live: tuple[LiveTarget, ...] = ()
    served: tuple[EndpointProof, ...] = ()
    seen: tuple[CertificateFacts, ...] = ()
    expiring_below: float = 0.2
    issuer: Culprit = Culprit(role="authority")
    targets: Mapping[str, str] = {}  # endpoint -> name of the target that it belongs to

    def finding(
        self,
        code: str,
        culprit: Culprit,
        *,
        variant: str = "",
        detail: Mapping[str, object] | None = None,
        state: TargetState | None = None,
        **facts: Fact,
    ) -> Finding:
        """Return a finding about this certificate, or about its state at a target."""
        finding = catalogue.finding(
            code,
            vantage=Vantage.CLIENT,
            reporter=self.node,
            identifier=self.identifiers[0],
            culprit=culprit if culprit.role else msgspec.structs.replace(culprit, node=self.node),
            detail={key: value for key, value in (detail or {}).items() if value is not None},
            variant=variant,
            certificate=self.name,
            **facts,
        )
        return msgspec.structs.replace(finding, target=state)

    def target_at(self, seen: EndpointProof) -> TargetState | None:
        """The target that the endpoint belongs to, with what is served there."""
        name, until = self.targets.get(seen.endpoint), seen.leaf.ends_at if seen.leaf is not None else None
        found = TargetState(certificate=self.name, name=name or "", is_served=until is not None, served_until=until)
        return found if name is not None else None


def conclude_serving(serving: Serving) -> list[Finding]:
    """Return all findings, those closest to the cause first."""
    return [finding for conclusion in TABLE for finding in conclusion(serving)]


def disk_is_not_what_was_proven(serving: Serving) -> Iterator[Finding]:
    """deploy.drift: another program has written the live pair; names the owner of the files and the time."""
    for target in serving.live:
        pair = target.pair
        if serving.proven is None or pair.fingerprint == serving.proven.fingerprint:
            continue
        changed_at = pair.changed_at.isoformat() if pair.changed_at else None
        yield serving.finding(
            "deploy.drift",
            Culprit(file=pair.file),
            detail={"on_disk": pair.fingerprint, "proven": serving.proven.fingerprint}
            | {"changed_at": changed_at, "changed_by": pair.changed_by},
            state=TargetState(certificate=serving.name, name=target.target),
            on_disk=pair.fingerprint is not None,
            changed_at=pair.changed_at.isoformat(timespec="seconds") if pair.changed_at else None,
            owner=pair.changed_by,
        )


def key_does_not_fit(serving: Serving) -> Iterator[Finding]:
    """deploy.pair_mismatch: the service could not start again with the live pair."""
    for target in serving.live:
        if not target.pair.key_fits:
            culprit = Culprit(file=target.pair.key_file)
            state, file = TargetState(certificate=serving.name, name=target.target), target.pair.file
            yield serving.finding("deploy.pair_mismatch", culprit, variant="live", state=state, target=file)


def key_is_open(serving: Serving) -> Iterator[Finding]:
    """deploy.world_readable: everyone on the node can read the live key."""
    for target in serving.live:
        if target.pair.is_open:
            yield serving.finding("deploy.world_readable", Culprit(file=target.pair.key_file))


def served_is_not_what_should_be(serving: Serving) -> Iterator[Finding]:
    """deploy.default_certificate, deploy.not_served; deploy.drift if the pair on disk is the right one and another
    is served. One finding per endpoint."""
    wanted = serving.proven.fingerprint if serving.proven else _on_disk(serving)
    is_right_on_disk = wanted is not None and all(target.pair.fingerprint == wanted for target in serving.live)
    reported: set[str] = set()
    for seen in serving.served:
        if seen.endpoint in reported or seen.served_as in (ServedAs.PROVEN, ServedAs.REFUSED):
            continue
        if seen.served_as is ServedAs.OTHER and not is_right_on_disk:
            continue  # what is on disk is reported already, or it is unknown what should be served
        reported.add(seen.endpoint)
        yield _not_served(serving, seen, wanted)


def a_client_refuses_the_chain(serving: Serving) -> Iterator[Finding]:
    """cert.chain_refused: the leaf is the wanted one (or nobody knows which is), and yet no client goes on. One finding
    per endpoint; what has merely expired is told as such."""
    told: set[str] = set()
    is_unknown = serving.proven is None and _on_disk(serving) is None
    for seen in serving.served:
        is_wanted = seen.served_as is ServedAs.REFUSED
        is_wanted |= is_unknown and seen.served_as is ServedAs.OTHER and seen.distrust != "untrusted"
        is_new = serving.proven is not None and not serving.proven.covers((seen.server_name,))  # added, and due now
        is_over = seen.leaf is not None and seen.leaf.ends_at <= serving.at
        if seen.endpoint in told or not is_wanted or seen.distrust is None or is_over or is_new:
            continue
        told.add(seen.endpoint)
        yield serving.finding(
            "cert.chain_refused",
            Culprit(address=_host(seen.endpoint)),
            variant=seen.distrust or "",
            detail={"endpoint": seen.endpoint, "served": seen.fingerprint},
            state=serving.target_at(seen),
            endpoint=seen.endpoint,
            server_name=seen.server_name,
            said=seen.detail,
        )


def a_chain_ends_first(serving: Serving) -> Iterator[Finding]:
    """cert.chain_ends_first: a certificate above the served leaf (else of the one on disk) ends before it."""
    found = _served_leaves(serving) or _leaves_on_disk(serving)
    short = [leaf for leaf, *_ in found if leaf.chain_ends_at is not None]
    if short:
        yield chain_ends_first(serving.node, serving.name, min(short, key=lambda leaf: leaf.ends_at), serving.issuer)


def _not_served(serving: Serving, seen: EndpointProof, wanted: str | None) -> Finding:
    code, variant = _NOT_SERVED[seen.served_as]
    return serving.finding(
        code,
        Culprit(address=_host(seen.endpoint)),
        variant=variant,
        detail={"endpoint": seen.endpoint, "served": seen.fingerprint, "wanted": wanted},
        state=serving.target_at(seen),
        endpoint=seen.endpoint,
        server_name=seen.server_name,
        trouble=seen.error,
        said=seen.detail,
    )


def life_is_ending(serving: Serving) -> Iterator[Finding]:
    """cert.expired, cert.expiring: for what is served, or else for what is on disk; the certificate that expires
    first."""
    found = _served_leaves(serving) or _leaves_on_disk(serving)
    if not found:
        return
    leaf, what, endpoint, culprit = min(found, key=lambda one: one[0].ends_at)
    left = leaf.ends_at - serving.at
    if left >= leaf.lifetime() * serving.expiring_below:
        return
    yield serving.finding(
        "cert.expired" if left <= timedelta() else "cert.expiring",
        serving.issuer if leaf.chain_ends_at is not None else culprit,
        detail={
            "fingerprint": leaf.fingerprint,
            "not_after": leaf.not_after.isoformat(),
            "chain_ends_at": leaf.chain_ends_at.isoformat() if leaf.chain_ends_at is not None else None,
        },
        what=what,
        endpoint=endpoint,
        file=culprit.file,
        issuer=leaf.chain_ends_with,
        until=leaf.ends_at.isoformat(),
        managed=serving.manage,
    )


def _served_leaves(serving: Serving) -> list[_Leaf]:
    return [
        (seen.leaf, "served", seen.endpoint, Culprit(address=_host(seen.endpoint)))
        for seen in serving.served
        if seen.leaf and _is_for(serving, seen.leaf)
    ]


def _leaves_on_disk(serving: Serving) -> list[_Leaf]:
    """Return the live certificate of each target; without a target, the one that was issued last."""
    live: list[_Leaf] = [
        (target.pair.facts, "on_disk", None, Culprit(file=target.pair.file))
        for target in serving.live
        if target.pair.facts is not None
    ]
    return live or ([(serving.proven, "issued", None, Culprit())] if serving.proven else [])


def it_is_issued_in_a_loop(serving: Serving) -> Iterator[Finding]:
    """cert.reissue_loop: one new certificate after another, long before any of them is due."""
    last = serving.seen[-(_LOOP_COUNT + 1) :]
    if len(last) <= _LOOP_COUNT:
        return
    span, lifetime = last[-1].not_before - last[0].not_before, last[-1].lifetime()
    longest = max(later.not_before - earlier.not_before for earlier, later in pairwise(last))
    if span >= lifetime * _LOOP_SHARE or serving.at - last[-1].not_before > max(2 * longest, _LOOP_ENDED):
        return
    yield serving.finding(
        "cert.reissue_loop",
        Culprit(),
        detail={"fingerprints": [leaf.fingerprint for leaf in last]},
        count=_LOOP_COUNT,
        span=_shown(span),
        lifetime=_shown(lifetime),
    )


def _is_for(serving: Serving, leaf: CertificateFacts) -> bool:
    """Return whether the certificate is for one of the identifiers: the expiry of a default certificate does not
    matter."""
    return bool(set(leaf.identifiers) & set(serving.identifiers)) or serving.proven is None


def _host(endpoint: str) -> str:
    return endpoint.rpartition(":")[0].strip("[]")


def _on_disk(serving: Serving) -> str | None:
    """Return the one fingerprint that another program, which renews the certificate, has put on disk. For a
    certificate that certagent renews, nothing is known before the first proof."""
    if serving.manage:
        return None
    found = {target.pair.fingerprint for target in serving.live}
    return found.pop() if len(found) == 1 else None


def _shown(span: timedelta) -> str:
    return str(timedelta(seconds=round(span.total_seconds())))


TABLE: tuple[Callable[[Serving], Iterator[Finding]], ...] = (
    disk_is_not_what_was_proven,
    key_does_not_fit,
    served_is_not_what_should_be,
    a_client_refuses_the_chain,
    life_is_ending,
    a_chain_ends_first,
    it_is_issued_in_a_loop,
    key_is_open,
)


class ConfiguredPair(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that a web server of this node is configured with. `facts` is None if it cannot be read."""

    server: str
    certificate: str
    names: tuple[str, ...] = ()
    facts: CertificateFacts | None = None


class CertResolver(msgspec.Struct, frozen=True, kw_only=True):
    """One of Traefik's own certificate resolvers: the CA that it uses (None: its default), and the certificate
    duration that it is configured with (hours; None: it assumes 2,160)."""

    name: str
    file: str
    line: int
    text: str | None = None
    directory: str | None = None
    hours: int | None = None


_PUBLIC = ("letsencrypt.org", "zerossl.com", "pki.goog", "buypass.com", "ssl.com", "sectigo.com", "digicert.com")


def nobody_owns(node: str, pairs: Sequence[ConfiguredPair], owned: frozenset[str]) -> list[Finding]:
    """cert.unmanaged: the certificate is served here and is in no section of the configuration. `owned`: certificate
    paths and names."""
    return [
        catalogue.finding(
            "cert.unmanaged",
            vantage=Vantage.STATIC,
            reporter=node,
            identifier=next(iter(pair.names), None),
            culprit=Culprit(node=node, file=pair.certificate),
            server=pair.server,
            names=list(pair.names),
            until=pair.facts.not_after.isoformat() if pair.facts is not None else None,
        )
        for pair in pairs
        if pair.certificate not in owned and not set(pair.names) & owned
    ]


def renews_too_late(node: str, resolver: CertResolver) -> Finding | None:
    """traefik.renews_too_late: without `certificatesDuration` Traefik assumes that every certificate lasts 90 days,
    and checks once a day: one of 24 hours expires between two checks. Let's Encrypt and similar CAs do issue for 90
    days."""
    host = (
        (resolver.directory or "acme-v02.api.letsencrypt.org").partition("://")[2].partition("/")[0].partition(":")[0]
    )
    is_public = resolver.directory is None or host.endswith(_PUBLIC)
    if is_public or resolver.hours is not None:
        return None
    return catalogue.finding(
        "traefik.renews_too_late",
        vantage=Vantage.STATIC,
        reporter=node,
        culprit=Culprit(node=node, file=resolver.file, line=resolver.line, text=resolver.text),
        resolver=resolver.name,
        server=host,
    )
