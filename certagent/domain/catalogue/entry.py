"""What the catalogue knows of one code: layer, meaning, severity, traits and the sentences for people. Values only."""

import enum
from collections.abc import Mapping

import msgspec

from certagent.domain.findings import Severity, Vantage

Severities = Severity | Mapping[Vantage, Severity]
"""One severity, or one per vantage."""


class Layer(enum.StrEnum):
    """What a code is about: the part before its first dot."""

    DNS = "dns"
    CA = "ca"
    NET = "net"
    HTTP01 = "http01"
    ALPN = "alpn"
    DNS01 = "dns01"
    ACME = "acme"
    RENEWAL = "renewal"
    PREFLIGHT = "preflight"
    CONFIG = "config"
    DEPLOY = "deploy"
    CERT = "cert"
    TRAEFIK = "traefik"
    AGENT = "agent"
    CHANNEL = "channel"
    COLLECTOR = "collector"
    FLEET = "fleet"
    SOURCE = "source"


class Trait(enum.Flag):
    """What certagent does because of a code, beyond showing it."""

    NONE = 0
    PATH = enum.auto()
    """About the challenge's path: a passed rehearsal caps the finding at `warn`."""
    OWN_INABILITY = enum.auto()
    """The acting node itself cannot do its part: blocks an order without a rehearsal."""
    BLOCKS_ORDER = enum.auto()
    """The CA's configuration refuses the order, however good the path is."""
    BLOCKS_RENEWAL = enum.auto()
    """Blocks a renewal by mTLS as well."""
    CA_UNUSABLE = enum.auto()
    """The CA is unavailable from this node, for all of its certificates."""
    NODE_WIDE = enum.auto()
    """One incident per node, whatever the identifier: the same thing has to be changed."""
    EXPLAINS = enum.auto()
    """A cause that is wider than one identifier: its symptoms make no incidents of their own."""
    LIFETIME = enum.auto()
    """Concluded from the clock alone."""
    ENDS_LIFE = enum.auto()
    """Why a certificate ends: that it does makes no incident of its own."""
    SEEN_BY_CA = enum.auto()
    """The CA's own view of the challenge's path."""
    HIDES_REASON = enum.auto()
    """The CA reports the failure without saying why."""
    NAME_VANISHED = enum.auto()
    """The name has no address any more."""
    NAMESERVER_FILES = enum.auto()
    """Only the agent next to a nameserver finds it, in that nameserver's own files."""
    DEAD_PORT = enum.auto()
    """Nobody answers there: one incident per address and port, whatever the identifier."""
    EXPLAINS_ANSWER = enum.auto()
    """Why the CA met another answer than ours: that answer makes no incident of its own."""
    CONSEQUENCE = enum.auto()
    """What was done because of another finding: it is never what an incident is called by."""


LAYER_TRAITS: Mapping[Layer, Trait] = {
    Layer.DNS: Trait.PATH,
    Layer.NET: Trait.PATH,
    Layer.HTTP01: Trait.PATH,
    Layer.ALPN: Trait.PATH,
    Layer.DNS01: Trait.PATH,
    Layer.CA: Trait.NODE_WIDE,
    Layer.AGENT: Trait.NODE_WIDE,
    Layer.COLLECTOR: Trait.NODE_WIDE,
    Layer.FLEET: Trait.NODE_WIDE,
}
"""What a code of that layer has unless its entry says otherwise; also for codes of newer agents."""


class Situation(msgspec.Struct, frozen=True):
    """One way to come to a finding, as a pair of templates: see `certagent.domain.catalogue.templates`."""

    explanation: str
    fix: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One code. `action`: what to do in general; a situation's `fix` says it for the case at hand. The situation
    without a name is the ordinary one. `sample`: facts of the example, where the usual ones do not fit."""

    code: str
    severity: Severities
    meaning: str
    cause: str
    action: str
    traits: Trait
    situations: Mapping[str, Situation]
    sample: Mapping[str, object] = {}

    @property
    def layer(self) -> Layer:
        """The part of the code before the first dot."""
        return layer_of(self.code) or Layer.DNS


def layer_of(code: str) -> Layer | None:
    """The layer that a code belongs to; None for one that no release knows."""
    try:
        return Layer(code.partition(".")[0])
    except ValueError:
        return None


def entry(
    code: str,
    severity: Severities,
    *,
    meaning: str,
    cause: str,
    action: str,
    explanation: str | None = None,
    fix: str | None = None,
    variants: Mapping[str, tuple[str, str | None]] | None = None,
    traits: Trait | None = None,
    sample: Mapping[str, object] | None = None,
) -> Entry:
    """A row of the table. `explanation` and `fix` are the ordinary situation, `variants` the named ones."""
    situations = {name: Situation(*pair) for name, pair in (variants or {}).items()}
    if explanation is not None:
        situations[""] = Situation(explanation, fix)
    return Entry(
        code=code,
        severity=severity,
        meaning=meaning,
        cause=cause,
        action=action,
        traits=default_traits(code) if traits is None else traits,
        situations=situations,
        sample=sample or {},
    )


def default_traits(code: str) -> Trait:
    """By the code's layer."""
    layer = layer_of(code)
    return LAYER_TRAITS.get(layer, Trait.NONE) if layer is not None else Trait.NONE


NO_ADDRESS_FIX = (
    "[!file?Add the record for {identifier} to the zone, or fix the nameserver that {asker} uses.]"
    "[file?In {spot} on {node}, {instruction}.]"
)
"""The fix of a name without an address: the line that hides a nameserver which knows it, if there is one."""

SHARED = {
    "order_refused": Situation("The CA refused the order: {said}."),
    "order_blocked": Situation("The CA refused the order: {said}. Observed next to the CA:"),
    "order_unvalidated": Situation("The CA could not validate {identifier}:"),
    "renewal_refused": Situation("{certificate} could not be renewed without a challenge: {said}."),
    "fleet": Situation("{count} of {total} agents report the same."),
    "suspected": Situation(
        "The rehearsal of {identifier} that {reporter} asked for failed. {reporter} suspects [file?{spot} on ]{node}"
        "[address? ({address})]; neither {node} nor the agent next to the CA confirms it.",
        "Check [file?{spot} on ]{node}, and the path from the CA to {reporter}.",
    ),
}
"""Situations that any code may have."""
