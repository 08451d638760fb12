"""Conclusions about dns-01: whether the record can be written, which servers have it, and what the CA finds instead.
Pure."""

from collections.abc import Iterator

from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.dns01_record import TROUBLE_CODES, Publication, TxtAnswer
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.resolution.file_formats import RESOLV_CONF_FILE

_SERIALS = 2**32  # RFC 1982
_TSIG_ERRORS = frozenset({"BADKEY", "BADSIG", "BADTIME", "BADTRUNC"})
"""The errors that have texts of their own."""
_ON_THE_WIRE = frozenset({"unreachable", "zone_not_found", "wrong_zone", "refused", "tsig"})


def record_cannot_be_written(evidence: Evidence) -> Iterator[Finding]:
    """dns01.server_unreachable, zone_not_found, wrong_zone, update_refused, tsig, hook_failed: no server accepts the
    record; deploy.unwritable: it was not sent to any."""
    publication = _publication(evidence)
    if publication is None or publication.trouble is None:
        return
    node, role = evidence.owner(publication.server)
    culprit = Culprit(node=node, address=publication.server, role=role)
    if publication.trouble == "tsig" and publication.rcode != "BADTIME":
        culprit = Culprit(node=evidence.node, file=publication.key_file, text=publication.key_name)
    if publication.trouble == "hook":
        culprit = Culprit(node=evidence.node, file=publication.server)
    if publication.trouble == "journal":
        culprit = Culprit(node=evidence.node, file=publication.file)
    code, variant, vantage = _classified(publication)
    yield evidence.finding(
        code,
        culprit,
        vantage=vantage,
        variant=variant,
        detail={
            "server": publication.server,
            "zone": publication.zone,
            "rcode": publication.rcode,
            "said": publication.detail,
        },
        place=evidence.place(publication.server),
        record=_bare(publication.name),
        server=publication.server,
        zone=_bare(publication.zone or ""),
        wanted_zone=_bare(publication.wanted_zone or ""),
        key_name=publication.key_name,
        rcode=publication.rcode,
        said=publication.detail,
    )


def _classified(publication: Publication) -> tuple[str, str, Vantage]:
    """Return code, variant and vantage: a nameserver's answer is observed on the wire."""
    trouble = publication.trouble or ""
    variant = {"journal": "record"}.get(trouble, "")
    if trouble == "tsig" and publication.rcode in _TSIG_ERRORS:
        variant = publication.rcode
    return TROUBLE_CODES[trouble], variant, Vantage.WIRE if trouble in _ON_THE_WIRE else Vantage.CLIENT


def record_is_not_everywhere(evidence: Evidence) -> Iterator[Finding]:
    """dns01.not_on_all_servers: the primary accepted the record, and a server of the zone does not have it."""
    publication = _publication(evidence)
    if publication is None or publication.trouble is not None or not publication.missing:
        return
    behind = publication.missing[0]
    node, role = evidence.owner(behind.nameserver)
    yield evidence.finding(
        "dns01.not_on_all_servers",
        Culprit(node=node, address=behind.nameserver, role=role),
        vantage=Vantage.WIRE,
        detail={
            "servers": [
                {"address": answer.nameserver, "has_it": answer.matched, "status": answer.status}
                for answer in publication.servers
            ]
        },
        primary=evidence.place(publication.server),
        record=_bare(publication.name),
        place=evidence.place(behind.nameserver),
        answer=behind.status,
    )


def authority_does_not_find_it(evidence: Evidence) -> Iterator[Finding]:
    """dns01.negative_cached, wrong_zone, authority_cannot_see: the record was written, and the CA's nameserver does
    not return it."""
    rehearsal, publication = evidence.rehearsal, _publication(evidence)
    if not evidence.has_failed or rehearsal is None or rehearsal.txt is None or publication is None:
        return
    answer = rehearsal.txt.answers[-1] if rehearsal.txt.answers else None
    if answer is None or rehearsal.txt.error == "no_nameserver":
        yield _nobody_to_ask(evidence)
        return
    code, variant = _judged(answer, publication)
    node, role = evidence.owner(answer.nameserver)
    seconds = answer.negative_for if code == "dns01.negative_cached" else answer.ttl
    yield evidence.finding(
        code,
        Culprit(node=node, address=answer.nameserver, role=role),
        variant=variant,
        detail={
            "nameserver": answer.nameserver,
            "status": answer.status,
            "zone": answer.zone,
            "serial": answer.serial,
            "seconds_left": seconds,
        },
        record=_bare(publication.name),
        place=evidence.place(answer.nameserver),
        answer=answer.status,
        is_own=answer.is_own,
        count=answer.records,
        seconds=None if answer.records and answer.is_own else seconds,
        zone=_bare(publication.zone or ""),
        other_zone=_bare(answer.zone or ""),
        server=publication.server,
    )


def record_was_left(evidence: Evidence) -> Iterator[Finding]:
    """dns01.leftover: records of an earlier run (removed by now), or of another program."""
    publication = _publication(evidence)
    if publication is None or not (publication.removed or publication.strangers):
        return
    node, role = evidence.owner(publication.server)
    yield evidence.finding(
        "dns01.leftover",
        Culprit(node=node, address=publication.server, role=role),
        vantage=Vantage.WIRE,
        detail={"removed": publication.removed, "strangers": publication.strangers},
        record=_bare(publication.name),
        removed=publication.removed,
        strangers=publication.strangers,
    )


def _publication(evidence: Evidence) -> Publication | None:
    return evidence.responder.publication if evidence.responder else None


def _nobody_to_ask(evidence: Evidence) -> Finding:
    culprit = Culprit(node=evidence.looker, file=RESOLV_CONF_FILE, role="authority")
    return evidence.finding("dns01.authority_cannot_see", culprit, variant="no_nameserver")


def _judged(answer: TxtAnswer, publication: Publication) -> tuple[str, str]:
    """Return code and variant."""
    if answer.records:
        return "dns01.authority_cannot_see", "other_records"
    if answer.zone is not None and publication.zone is not None and answer.zone != publication.zone:
        return "dns01.wrong_zone", "seen_by_ca"
    if answer.zone is not None and not answer.is_own and _is_older(answer.serial, publication.serial):
        return "dns01.negative_cached", ""
    return "dns01.authority_cannot_see", ""


def _is_older(serial: int | None, than: int | None) -> bool:
    return serial is not None and than is not None and 0 < (than - serial) % _SERIALS < _SERIALS // 2


def _bare(name: str) -> str:
    return name.removesuffix(".") or name
