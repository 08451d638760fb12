"""The catalogue of findings: every code with its meaning, its severity, its traits and its sentences. Pure.

One table, and the one constructor of findings. `certagent explain`, the README's table, `policies/default.toml` and
every set of codes in the code follow from it. A new code is one entry here and one conclusion in `domain/diagnosis`.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from certagent.domain.catalogue.entry import (
    SHARED,
    Entry,
    Layer,
    Severities,
    Situation,
    Trait,
    default_traits,
    layer_of,
)
from certagent.domain.catalogue.templates import Fact, addresses_among, bounded, expand, facts_in, with_labels
from certagent.domain.findings import Culprit, Finding, Vantage

__all__ = [
    "Entry",
    "Fact",
    "Layer",
    "Severities",
    "Trait",
    "addresses_of",
    "because",
    "codes_with",
    "expand",
    "explain_addresses",
    "facts_in",
    "finding",
    "has_trait",
    "layer_of",
    "load",
    "render",
]

_BECAUSE = "because"
"""The fact that holds another finding, whose sentences follow."""


def finding(
    code: str,
    *,
    vantage: Vantage,
    reporter: str,
    identifier: str | None = None,
    culprit: Culprit | None = None,
    detail: Mapping[str, Any] | None = None,
    variant: str = "",
    cause: Finding | None = None,
    **facts: Fact,
) -> Finding:
    """The finding with its sentences. Identifier, reporter and the culprit's parts are facts by themselves.

    `cause`: another finding that explains this one; its explanation and fix follow. Raises KeyError for a code or a
    situation that the catalogue does not have.
    """
    given = {
        "identifier": identifier,
        "reporter": reporter,
        **(msgspec.structs.asdict(culprit) if culprit else {}),
        **facts,
    }
    kept = {name: bounded(given[name]) for name in _facts_of(code, variant) if given.get(name) is not None}
    if cause is not None:
        kept[_BECAUSE] = _as_cause(cause)
    explanation, fix = render(code, variant, kept)
    return Finding(
        code=code,
        identifier=identifier,
        vantage=vantage,
        reporter=reporter,
        explanation=explanation,
        detail=dict(detail or {}),
        culprit=culprit,
        fix=fix,
        variant=variant,
        facts=kept,
    )


def because(effect: Finding, cause: Finding) -> Finding:
    """The finding blamed on what another one names: its culprit, and its sentences after the finding's own."""
    facts = {**effect.facts, _BECAUSE: _as_cause(cause)}
    explanation, fix = f"{effect.explanation} {cause.explanation}", cause.fix or effect.fix
    return msgspec.structs.replace(effect, culprit=cause.culprit, explanation=explanation, fix=fix, facts=facts)


def render(code: str, variant: str, facts: Mapping[str, Any]) -> tuple[str, str | None]:
    """(explanation, fix) of a code in a situation. Raises KeyError for one that the catalogue does not have."""
    situation = _situation(code, variant)
    explanation = expand(situation.explanation, facts)
    fix = expand(situation.fix, facts) if situation.fix is not None else None
    cause = facts.get(_BECAUSE)
    if not isinstance(cause, Mapping):
        return explanation, fix
    words, todo = _words_of(cause)
    return f"{explanation} {words}", todo or fix


def explain_addresses(finding: Finding, labels: Mapping[str, str]) -> str:
    """The explanation, every address in it with its label, as far as it follows from facts (an older agent sends
    none)."""
    if not _follows_from_facts(finding):
        return finding.explanation
    return render(finding.code, finding.variant, with_labels(finding.facts, labels))[0]


def addresses_of(finding: Finding) -> set[str]:
    """The IP addresses that its facts and its culprit name."""
    culprit = finding.culprit.address if finding.culprit is not None else None
    return addresses_among(finding.facts) | ({culprit} if culprit else set())


def codes_with(trait: Trait) -> frozenset[str]:
    """All codes of the catalogue that have the trait."""
    return frozenset(code for code, entry in _catalogue().items() if trait in entry.traits)


def has_trait(code: str, trait: Trait) -> bool:
    """Whether a code has the trait; one of a newer agent by its layer."""
    entry = _catalogue().get(code)
    return trait in (default_traits(code) if entry is None else entry.traits)


def load() -> None:
    """Read the table now: who runs for long does not put it off until something is wrong."""
    _catalogue()


@cache
def _catalogue() -> Mapping[str, Entry]:
    """Read when the first finding is made: most commands make none, and start sooner without."""
    from certagent.domain.catalogue.entries import CATALOGUE

    return CATALOGUE


def _situation(code: str, variant: str) -> Situation:
    own = _catalogue()[code].situations
    return own[variant] if variant in own else SHARED[variant]


def _facts_of(code: str, variant: str) -> frozenset[str]:
    situation = _situation(code, variant)
    return facts_in(situation.explanation) | facts_in(situation.fix or "")


def _as_cause(cause: Finding) -> dict[str, Any]:
    """Code, variant and facts, if its sentences follow from them; else (of an older agent) the sentences themselves."""
    if _follows_from_facts(cause):
        return {"code": cause.code, "variant": cause.variant, "facts": cause.facts}
    return {"explanation": cause.explanation, "fix": cause.fix}


def _follows_from_facts(finding: Finding) -> bool:
    try:
        return render(finding.code, finding.variant, finding.facts)[0] == finding.explanation
    except KeyError:
        return False


def _words_of(cause: Mapping[str, Any]) -> tuple[str, str | None]:
    if "code" in cause:
        return render(cause["code"], cause.get("variant", ""), cause.get("facts", {}))
    return str(cause.get("explanation")), cause.get("fix")
