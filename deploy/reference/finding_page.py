"""docs/findings.md: every code with its meaning, an example as seen and what to do, from the catalogue."""

from collections.abc import Mapping

import msgspec

from certagent.commands.explain import severity_text, table_of_codes
from certagent.commands.finding_output import lines_of
from certagent.commands.terminal import fit
from certagent.domain.catalogue import Entry, Layer
from certagent.domain.catalogue.entries import CATALOGUE
from certagent.domain.catalogue.examples import example_finding
from deploy.reference.markdown import anchor, fenced, page, table

TITLES: Mapping[Layer, str] = {
    Layer.DNS: "Names and resolver files",
    Layer.CA: "The CA",
    Layer.NET: "The connection",
    Layer.HTTP01: "http-01",
    Layer.ALPN: "tls-alpn-01",
    Layer.DNS01: "dns-01",
    Layer.ACME: "The order",
    Layer.RENEWAL: "Renewal without a challenge",
    Layer.PREFLIGHT: "The check against the CA",
    Layer.CONFIG: "Configuration files",
    Layer.DEPLOY: "Deployment",
    Layer.CERT: "Certificates",
    Layer.TRAEFIK: "Traefik's own client",
    Layer.AGENT: "The agent",
    Layer.CHANNEL: "The channel to the collector",
    Layer.COLLECTOR: "The collector",
    Layer.FLEET: "The fleet",
    Layer.SOURCE: "Provisioning code",
}
"""What a layer's codes are about."""

_WIDTH = 100  # of the examples, in characters

_INTRODUCTION = (
    "# Findings",
    "A finding is what certagent concluded, with a code that stays the same. `certagent explain CODE` shows what is"
    " said here; `certagent explain` alone lists all codes.",
    "The severity is the default; `[severity]` in a policy file sets another"
    " ([configuration](configuration.md#policy)). It decides on the exit status of commands, and from `error` on a"
    " finding opens an incident. It blocks no order by itself: a failed rehearsal does, or the node's own inability."
    " Where a code has several, the vantage decides: `authority` is the CA's node, `client` and `static` are the node"
    " itself (by what happens there, and by its files alone), `wire` is what nameservers say, `peer` another node.",
    "The examples are made by the same templates as the findings themselves, with the documentation's fleet: lxc101 is"
    " the gateway with dnsmasq (10.0.0.153), lxc102 runs Traefik (10.0.0.12), lxc103 is the CA (10.0.0.10).",
)
_ALL = (
    "## All codes",
    "Where a severity depends on who looked, that is in brackets: `authority` beside the CA, `client` here, `wire` at a"
    " nameserver, `static` in a file alone.",
    table_of_codes(),
)


def make() -> str:
    """The page."""
    layers = list(dict.fromkeys(entry.layer for entry in CATALOGUE.values()))
    overview = table(
        ("about", "codes"),
        ((f"[{TITLES[layer]}](#{anchor(TITLES[layer])})", f"`{layer}.*`, {len(_of(layer))}") for layer in layers),
    )
    return page(*_INTRODUCTION, overview, *(part for layer in layers for part in _section(layer)), *_ALL)


def _of(layer: Layer) -> list[Entry]:
    return [entry for entry in CATALOGUE.values() if entry.layer is layer]


def _section(layer: Layer) -> list[str]:
    return [f"## {TITLES[layer]}", *(part for entry in _of(layer) for part in _finding(entry))]


def _finding(entry: Entry) -> list[str]:
    shown = [line.removeprefix("  ") for line in lines_of(msgspec.to_builtins(example_finding(entry)))]
    return [
        f"### {entry.code}",
        f"{entry.meaning} *{severity_text(entry.severity)}*",
        f"**Usual cause.** {entry.cause}",
        f"**What to do.** {entry.action}",
        fenced(fit("\n".join(shown), _WIDTH)),
    ]
