"""Which findings are mere symptoms of a cause that is known, by whose word (decisions 11 and 18), and which are
several views of one cause. Pure."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from certagent.domain.catalogue import Layer, Trait, has_trait, layer_of
from certagent.domain.findings import Culprit, Finding
from certagent.domain.sightings import (
    COLLECTOR,
    KINDS,
    Fleet,
    Sighting,
    Target,
    accused_by,
    concerns_path,
    is_at_address,
    is_borne_out,
    is_suspicion,
    key_of,
    own_target,
    victims_of,
)

_CAUSES = {"ca.directory_missing": "ca.provisioner_missing"}
"""Of the CA: symptom -> what its own file says is the cause."""
_AT_THE_OTHER_END = (Layer.NET, Layer.HTTP01, Layer.ALPN)


class Explanations(msgspec.Struct, frozen=True):
    """The identifiers about which a cause is known, and for whom: `general` for everybody, since the authority or the
    collector says so; `own` for the nodes that say so themselves and are not merely accusing. `ended`: whose own
    certificate ends with its chain, or since no newer one is deployed. `answered`: whose own
    mistake it is that the CA met another answer than ours, and `elsewhere`: whose name leads to another node.
    `of_ca`: the CA's node, and the code that its own file explains."""

    general: frozenset[str]
    own: frozenset[tuple[str, str]]
    ended: frozenset[tuple[str, str]]
    answered: frozenset[tuple[str, str]]
    elsewhere: frozenset[tuple[str, str]]
    of_ca: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, groups: Iterable[list[Sighting]], fleet: Fleet) -> "Explanations":
        """What the sightings explain, in groups of those that accuse the same."""
        general, own, ended = set(), set(), set()
        answered: set[tuple[str, str]] = set()
        elsewhere: set[tuple[str, str]] = set()
        of_ca: set[tuple[str, str]] = set()
        for group in groups:
            is_known = any(is_borne_out(sighting, fleet) for sighting in group)
            for sighting in group:
                name = sighting.finding.identifier
                if is_known and sighting.finding.code in _CAUSES.values():
                    of_ca.add((accused_by(sighting.agent, sighting.finding), sighting.finding.code))
                is_end = has_trait(sighting.finding.code, Trait.ENDS_LIFE) or sighting.finding.target is not None
                if name is not None and is_end:
                    ended.add((sighting.agent, name))
                if name is not None and has_trait(sighting.finding.code, Trait.EXPLAINS_ANSWER):
                    is_dns = layer_of(sighting.finding.code) is Layer.DNS
                    (elsewhere if is_dns else answered).add((sighting.agent, name))
                if name is None or not _explains(sighting.finding):
                    continue
                if sighting.agent == COLLECTOR or sighting.agent in fleet.authorities:
                    general.add(name)
                elif is_known or is_suspicion(sighting, fleet):
                    own.add((sighting.agent, name))
        return cls(
            general=frozenset(general),
            own=frozenset(own),
            ended=frozenset(ended),
            answered=frozenset(answered),
            elsewhere=frozenset(elsewhere),
            of_ca=frozenset(of_ca),
        )

    def cover(self, sighting: Sighting) -> bool:
        """Whether that is a symptom: what dies, or cannot be reached, because of something that is known. It is said
        there when it dies. A node's word covers its own symptoms, and what others blame on it."""
        finding = sighting.finding
        if (accused_by(sighting.agent, finding), _CAUSES.get(finding.code)) in self.of_ca:
            return True
        concerned = {accused_by(sighting.agent, finding), sighting.agent}
        is_end = has_trait(finding.code, Trait.LIFETIME)
        if is_end and any((node, finding.identifier) in self.ended for node in concerned):
            return finding.culprit is None or finding.culprit.file is None
        subject = sighting.agent, finding.identifier
        if not has_trait(finding.code, Trait.EXPLAINS_ANSWER) and (
            (_is_answer(finding) and concerned == {sighting.agent} and subject in self.answered)
            or (layer_of(finding.code) in _AT_THE_OTHER_END and subject in self.elsewhere)
        ):
            return True
        is_effect = concerns_path(finding) or is_end
        if not is_effect or _explains(finding) or finding.identifier is None:
            return False
        return finding.identifier in self.general or any((node, finding.identifier) in self.own for node in concerned)


def _is_answer(finding: Finding) -> bool:
    """Whether it is about an answer to the challenge, not about nobody being there."""
    is_challenge = layer_of(finding.code) in (Layer.HTTP01, Layer.ALPN)
    return is_challenge and not has_trait(finding.code, Trait.DEAD_PORT)


def _explains(finding: Finding) -> bool:
    names_file = finding.culprit is not None and finding.culprit.file is not None and concerns_path(finding)
    return names_file or has_trait(finding.code, Trait.EXPLAINS)


def gather(sightings: Sequence[Sighting], fleet: Fleet) -> dict[str, list[Sighting]]:
    """By key; but all that is wrong with a certificate at one target is one thing, and so is what happens to several
    names of a certificate, or at several ports, or is wrong with an answer in several ways, at one address."""
    anchors = _anchors(sightings)
    groups: dict[str, list[Sighting]] = {}
    for sighting in sightings:
        key = anchors.get(own_target(sighting)) or key_of(sighting.agent, sighting.finding)
        groups.setdefault(key, []).append(sighting)
    return _merge_at_addresses(groups, fleet)


def _anchors(sightings: Iterable[Sighting]) -> dict[Target | None, str]:
    """The key for all that is said of each target: that of a file, else of a port. A deployment knows the cause better
    than who only sees what is served."""
    found: dict[Target | None, tuple[int, bool, int, str]] = {}
    for sighting in sightings:
        target, finding = own_target(sighting), sighting.finding
        if target is None or finding.target is None:
            continue
        key = key_of(sighting.agent, finding)
        rank = (KINDS.index(key.partition(":")[0]), finding.target.retry_at is None, finding.severity.rank, key)
        found[target] = min(rank, found.get(target, rank))
    return {target: key for target, (*_, key) in found.items()}


def _merge_at_addresses(groups: Mapping[str, list[Sighting]], fleet: Fleet) -> dict[str, list[Sighting]]:
    merged: dict[str, list[Sighting]] = {}
    met: dict[tuple[str, str, str | None], dict[tuple[str, str], str]] = {}
    for key, group in sorted(groups.items()):
        leading = group[0].finding.culprit or Culprit()
        if not is_at_address(key) or leading.address is None:
            merged[key] = group
            continue
        kind, node = key.split(":")[:2]
        known = met.setdefault((kind, node, leading.address), {})
        victims = {(victim.node, victim.certificate) for victim in victims_of(group, fleet)}
        into = next((known[victim] for victim in sorted(victims) if victim in known), key)
        known.update(dict.fromkeys(victims - known.keys(), into))
        merged.setdefault(into, []).extend(group)
    return merged
