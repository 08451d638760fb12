"""The catalogue of findings: every code with its meaning, its severity, its traits and its sentences. Pure.

One table, and the one constructor of findings. `certagent explain`, docs/findings.md, `policies/default.toml` and
every set of codes in the code follow from it. A new code is one entry here and one conclusion in `domain/diagnosis`.
"""

import re
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
from certagent.domain.catalogue.templates import (
    Fact,
    addresses_among,
    bounded,
    expand,
    facts_in,
    may_advise,
    missing_facts,
    quote,
    quoted_facts,
    with_labels,
)
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
    "explain_command",
    "facts_in",
    "finding",
    "has_trait",
    "layer_of",
    "load",
    "meaning_of",
    "quote",
    "render",
    "retell",
]

_CODE = re.compile(r"[a-z0-9_.]{1,80}")
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
        **_parts_of(culprit),
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


def retell(
    finding: Finding, agent: str, labels: Mapping[str, str] | None = None, *, situation: str | None = None
) -> tuple[str, str | None]:
    """(explanation, fix) in our words of what that agent reported: not one sentence is the report's own.

    Its facts are quoted wherever they could be more than a name, a number or a path, every address has its label.
    Where they do not suffice (an older agent sends none), it is the code's general meaning. `situation`: one of those
    that any code may have, in place of the finding's.
    """
    facts = {"identifier": finding.identifier, "reporter": finding.reporter}
    facts |= {name: value for name, value in _parts_of(finding.culprit).items() if value is not None}
    facts = quoted_facts({"node": agent, **facts, **finding.facts})
    accused = (finding.culprit.node if finding.culprit is not None else None) or agent
    if facts["node"] not in (agent, accused):  # it speaks of a third node
        facts["node"] = accused
    if situation is not None:
        facts |= {"reporter": agent, "node": accused}
    variant = finding.variant if situation is None else situation
    explanation, fix = _retold(finding.code, variant, with_labels(facts, labels or {}), agent)
    cause = finding.facts.get(_BECAUSE)
    if situation is not None or not isinstance(cause, Mapping):
        return explanation, fix
    words, todo = _retold_cause(cause, agent, accused, labels or {})
    return f"{explanation} {words}".rstrip(), todo or fix


def _retold(code: str, variant: str, facts: Mapping[str, Any], agent: str) -> tuple[str, str | None]:
    entry = _catalogue().get(code)
    if entry is None:
        return f"{code if _CODE.fullmatch(code) else quote(code)}, reported by {agent}.", None
    situation = entry.situations.get(variant, SHARED.get(variant))
    general = f"{entry.meaning.rstrip('.')}{expand('[file? ({spot} on {node})]', facts)}."
    if situation is None:
        return general, entry.action
    has_facts = not missing_facts(situation.explanation, facts)
    explanation, fix = expand(situation.explanation, facts) if has_facts else general, situation.fix
    if fix is not None:
        fix = entry.action if missing_facts(fix, facts) or not may_advise(fix, facts) else expand(fix, facts)
    return explanation, fix


def _retold_cause(
    cause: Mapping[str, Any], agent: str, accused: str, labels: Mapping[str, str]
) -> tuple[str, str | None]:
    """What a finding names as its cause; nothing if the cause accuses another node than the finding does."""
    code, variant, facts = cause.get("code"), cause.get("variant", ""), cause.get("facts", {})
    is_whole = isinstance(code, str) and isinstance(variant, str) and isinstance(facts, Mapping)
    if not is_whole or facts.get("node", accused) != accused:
        return "", None
    return _retold(str(code), str(variant), with_labels(quoted_facts({"node": accused, **facts}), labels), agent)


def _parts_of(culprit: Culprit | None) -> dict[str, Any]:
    return msgspec.structs.asdict(culprit) if culprit is not None else {}


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


def meaning_of(code: str) -> str:
    """What the code means, as part of a sentence; the code itself, where no release knows it."""
    entry = _catalogue().get(code)
    if entry is None:
        return code if _CODE.fullmatch(code) else quote(code)
    text = entry.meaning.rstrip(".")
    return text if text[1:2].isupper() else text[0].lower() + text[1:]


def explain_command(code: str) -> str | None:
    """The command that explains the code; None for one that this release does not know."""
    return f"certagent explain {code}" if code in _catalogue() else None


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
