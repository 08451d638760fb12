"""Conclusions about dns-01: whether the record can be written, who has it, and what the CA finds instead. Pure."""

from collections.abc import Iterator

from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.dns01_record import TROUBLE_CODES, Publication, TxtAnswer, TxtLookup
from certagent.domain.findings import Culprit, Finding

_SERIALS = 2**32  # RFC 1982
_TSIG_WORDS = {
    "BADKEY": "it knows no key of that name (or wants another algorithm)",
    "BADSIG": "its secret for that key is another one",
    "BADTIME": "its clock and this node's are too far apart",
    "BADTRUNC": "the signature is cut too short for it",
}
_TSIG_FIXES = {
    "BADKEY": "Give the server the key under that name, or name one that it has (key_name, key_algorithm).",
    "BADSIG": "Put the server's secret of that key into the key file.",
    "BADTIME": "Set the clock that is wrong; five minutes are the most that TSIG forgives.",
}


def record_cannot_be_written(evidence: Evidence) -> Iterator[Finding]:
    """dns01.server_unreachable, zone_not_found, wrong_zone, update_refused, tsig, hook_failed: nobody takes it;
    deploy.unwritable: nobody was asked to."""
    publication = _publication(evidence)
    if publication is None or publication.trouble is None:
        return
    words, fix = _TROUBLES[publication.trouble](publication, evidence.place(publication.server))
    node, role = evidence.owner(publication.server)
    culprit = Culprit(node=node, address=publication.server, role=role)
    if publication.trouble == "tsig" and publication.rcode != "BADTIME":
        culprit = Culprit(node=evidence.node, file=publication.key_file, text=publication.key_name)
    if publication.trouble == "hook":
        culprit = Culprit(node=evidence.node, file=publication.server)
    if publication.trouble == "journal":
        culprit = Culprit(node=evidence.node, file=publication.file)
    yield evidence.own_finding(
        TROUBLE_CODES[publication.trouble],
        f"{evidence.node} cannot write the record {_bare(publication.name)} for {evidence.identifier}: {words}.",
        culprit,
        fix,
        server=publication.server,
        zone=publication.zone,
        rcode=publication.rcode,
        said=publication.detail,
    )


def record_is_not_everywhere(evidence: Evidence) -> Iterator[Finding]:
    """dns01.not_on_all_servers: the primary took the record, and a server of the zone does not have it."""
    publication = _publication(evidence)
    if publication is None or publication.trouble is not None or not publication.missing:
        return
    behind = publication.missing[0]
    node, role = evidence.owner(behind.nameserver)
    what = f"says {_status(behind)}" if behind.status not in ("timeout", "unreachable") else "does not answer"
    yield evidence.own_finding(
        "dns01.not_on_all_servers",
        f"{evidence.place(publication.server)} took the record {_bare(publication.name)}, but"
        f" {evidence.place(behind.nameserver)}, which the zone names as its server, {what}.",
        Culprit(node=node, address=behind.nameserver, role=role),
        "See that it gets the zone's changes (NOTIFY, transfer, its key), or take it out of the zone's NS records.",
        servers=[
            {"address": one.nameserver, "has_it": one.matched, "status": one.status} for one in publication.servers
        ],
    )


def authority_does_not_find_it(evidence: Evidence) -> Iterator[Finding]:
    """dns01.negative_cached, wrong_zone, authority_cannot_see: written, and the CA's nameserver says otherwise."""
    rehearsal, publication = evidence.rehearsal, _publication(evidence)
    if not evidence.has_failed or rehearsal is None or rehearsal.txt is None or publication is None:
        return
    answer = rehearsal.txt.answers[-1] if rehearsal.txt.answers else None
    if answer is None or rehearsal.txt.error == "no_nameserver":
        yield _nobody_to_ask(evidence)
        return
    code, words, fix = _judged(evidence, rehearsal.txt, answer, publication)
    node, role = evidence.owner(answer.nameserver)
    yield evidence.finding(
        code,
        f"The CA does not find the record {_bare(publication.name)}: {evidence.place(answer.nameserver)}, which it"
        f" asks, {words}.",
        Culprit(node=node, address=answer.nameserver, role=role),
        fix,
        nameserver=answer.nameserver,
        status=answer.status,
        zone=answer.zone,
        serial=answer.serial,
        seconds_left=answer.negative_for if code == "dns01.negative_cached" else answer.ttl,
    )


def record_was_left(evidence: Evidence) -> Iterator[Finding]:
    """dns01.leftover: records of an earlier run (removed by now), or somebody else's."""
    publication = _publication(evidence)
    if publication is None or not (publication.removed or publication.strangers):
        return
    ours = f"an earlier run of this agent left {publication.removed}, removed by now" if publication.removed else ""
    others = f"{publication.strangers} are not this agent's" if publication.strangers else ""
    node, role = evidence.owner(publication.server)
    yield evidence.own_finding(
        "dns01.leftover",
        f"There were records at {_bare(publication.name)} before: {'; '.join(filter(None, (ours, others)))}.",
        Culprit(node=node, address=publication.server, role=role),
        "Nothing to do for this agent's own; see who else writes there, and remove what nobody needs.",
        removed=publication.removed,
        strangers=publication.strangers,
    )


def _publication(evidence: Evidence) -> Publication | None:
    return evidence.responder.publication if evidence.responder else None


def _unreachable(publication: Publication, place: str) -> tuple[str, str]:
    return (
        f"nobody answers at {place} ({publication.detail})",
        f"Start the nameserver at {publication.server}, or mend the way to it (port 53, UDP and TCP).",
    )


def _zone_not_found(publication: Publication, place: str) -> tuple[str, str]:
    return (
        f"{place} has no zone for it ({publication.detail})",
        "Name the zone's primary in solver.server, or give that server the zone.",
    )


def _wrong_zone(publication: Publication, place: str) -> tuple[str, str]:
    wanted = _bare(publication.wanted_zone or "")
    return (
        f"by {place} it is in the zone {_bare(publication.zone or '')}" + (f", not in {wanted}" if wanted else ""),
        f"Set solver.zone to {_bare(publication.zone or '')}, and solver.server to that zone's primary.",
    )


def _refused(publication: Publication, place: str) -> tuple[str, str]:
    return (
        f"{place} refuses the update ({publication.rcode})",
        f"Let the key {publication.key_name} change TXT records there (BIND: update-policy or allow-update of the zone"
        f" {_bare(publication.zone or '')}).",
    )


def _tsig(publication: Publication, place: str) -> tuple[str, str]:
    rcode = publication.rcode or ""
    return (
        f"{place} does not accept the key {publication.key_name} ({rcode}):"
        f" {_TSIG_WORDS.get(rcode, publication.detail)}",
        _TSIG_FIXES.get(rcode, "Compare key name, algorithm and secret with the server's."),
    )


def _hook(publication: Publication, place: str) -> tuple[str, str]:
    del place
    return (
        publication.detail,
        f"Run it by hand as root: {publication.server} ... present {_bare(publication.name)} TEXT.",
    )


def _journal(publication: Publication, place: str) -> tuple[str, str]:
    del place
    return (
        f"it could not be noted down that it has to be taken away again ({publication.detail})",
        "Make room on the file system of the agent's state, or let it be written; it is tried again by itself.",
    )


_TROUBLES = {
    "unreachable": _unreachable,
    "zone_not_found": _zone_not_found,
    "wrong_zone": _wrong_zone,
    "refused": _refused,
    "tsig": _tsig,
    "hook": _hook,
    "journal": _journal,
}


def _nobody_to_ask(evidence: Evidence) -> Finding:
    return evidence.finding(
        "dns01.authority_cannot_see",
        f"The CA on {evidence.looker} has no nameserver to ask for the record of {evidence.identifier}.",
        Culprit(node=evidence.looker, file="/etc/resolv.conf", role="authority"),
        f"Give /etc/resolv.conf on {evidence.looker} a nameserver that sees the zone.",
    )


def _judged(evidence: Evidence, lookup: TxtLookup, answer: TxtAnswer, publication: Publication) -> tuple[str, str, str]:
    """(code, what the nameserver does, what to do)."""
    if answer.records:
        kept = f" and may keep them for {answer.ttl} s" if answer.ttl and not answer.is_own else ""
        return (
            "dns01.authority_cannot_see",
            f"has {answer.records} other records there{kept}",
            "Wait that long, or flush its cache; see that it asks the zone's own servers.",
        )
    if answer.zone is not None and publication.zone is not None and answer.zone != publication.zone:
        return (
            "dns01.wrong_zone",
            f"answers from the zone {_bare(answer.zone)}, while the record is in {_bare(publication.zone)}",
            f"Delegate {_bare(publication.zone)} in {_bare(answer.zone)}, or forward it to {publication.server} there.",
        )
    if answer.zone is not None and not answer.is_own and _is_older(answer.serial, publication.serial):
        return (
            "dns01.negative_cached",
            f"remembers from before that there is none, and will for {answer.negative_for} s",
            f"Wait {answer.negative_for} s (certagent tries again), or flush its cache;"
            " a smaller negative TTL in the zone's SOA shortens it.",
        )
    itself = " by itself, without asking the zone's server" if answer.is_own else ""
    return (
        "dns01.authority_cannot_see",
        f"says {_status(answer)}{itself}",
        f"Have {answer.nameserver} forward {_bare(publication.zone or '')} to {publication.server}.",
    )


def _is_older(serial: int | None, than: int | None) -> bool:
    return serial is not None and than is not None and 0 < (than - serial) % _SERIALS < _SERIALS // 2


def _status(answer: TxtAnswer) -> str:
    return "that there is none" if answer.status in ("ok", "nxdomain") else answer.status


def _bare(name: str) -> str:
    return name.removesuffix(".") or name
