"""Conclusions from an nsswitch.conf alone: what a Go program (the CA is one) makes of it. Pure."""

from collections.abc import Iterator
from typing import Any

from certagent.domain.catalogue import Fact
from certagent.domain.diagnosis.static.observation import StaticObservation, short
from certagent.domain.findings import Finding
from certagent.domain.resolution.nsswitch import DEFAULT_ORDER, NSSWITCH_FILE


def file_is_given_up(look: StaticObservation) -> Iterator[Finding]:
    """dns.nsswitch_ignored: one line is none, so a Go program does not use the file at all."""
    switch = look.files.nsswitch
    if switch.problem is not None:
        yield _found(look, "dns.nsswitch_ignored", problem=switch.problem)


def sources_are_missing(look: StaticObservation) -> Iterator[Finding]:
    """dns.nsswitch_no_dns, dns.hosts_overruled: DNS is never asked; or the hosts file is not asked first."""
    switch = look.files.nsswitch
    if "dns" not in switch.order:
        yield _found(look, "dns.nsswitch_no_dns")
    elif switch.order != DEFAULT_ORDER:
        yield _found(look, "dns.hosts_overruled", never_read="files" not in switch.order)


def sources_are_foreign(look: StaticObservation) -> Iterator[Finding]:
    """dns.nss_only: names that only such a source knows exist for other programs here, and not for the CA."""
    foreign = [short(source) for source in dict.fromkeys(look.files.nsswitch.sources) if source not in DEFAULT_ORDER]
    if foreign:
        yield _found(look, "dns.nss_only", variant="static", detail={"sources": foreign[:20]}, sources=foreign)


def _found(
    look: StaticObservation, code: str, variant: str = "", detail: dict[str, Any] | None = None, **facts: Fact
) -> Finding:
    switch = look.files.nsswitch
    return look.finding(
        code, file=NSSWITCH_FILE, line=switch.line, text=switch.text, variant=variant, detail=detail, **facts
    )
