"""Conclusions from an nsswitch.conf alone: what a Go program (the CA is one) makes of it. Pure."""

from collections.abc import Iterator
from typing import Any

from certagent.domain.diagnosis.static.observation import StaticObservation, several, short
from certagent.domain.findings import Finding
from certagent.domain.resolution.nsswitch import DEFAULT_ORDER, NSSWITCH_FILE


def file_is_given_up(look: StaticObservation) -> Iterator[Finding]:
    """dns.nsswitch_ignored: one line is none, so a Go program does not use the file at all."""
    switch = look.files.nsswitch
    if switch.problem is not None:
        yield _found(
            look,
            "dns.nsswitch_ignored",
            f"has {switch.problem}: a Go program then gives up the whole file, and asks files, then dns",
            "Mend the line",
        )


def sources_are_missing(look: StaticObservation) -> Iterator[Finding]:
    """dns.nsswitch_no_dns, dns.hosts_overruled: DNS is never asked; or the hosts file is not asked first."""
    switch = look.files.nsswitch
    if "dns" not in switch.order:
        what = "keeps DNS out: a Go program then knows only the names of the hosts file"
        yield _found(look, "dns.nsswitch_no_dns", what, "Let `dns` follow `files`")
    elif switch.order != DEFAULT_ORDER:
        never = "is never read" if "files" not in switch.order else "decides only where DNS knows nothing"
        yield _found(look, "dns.hosts_overruled", f"asks DNS first: the hosts file {never}", "Write `files dns`")


def sources_are_foreign(look: StaticObservation) -> Iterator[Finding]:
    """dns.nss_only: names that only such a source knows exist for other programs here, and not for the CA."""
    foreign = [short(source) for source in dict.fromkeys(look.files.nsswitch.sources) if source not in DEFAULT_ORDER]
    if foreign:
        what = f"names {several(foreign)}, which a Go program has not got: what only they know does not exist for it"
        yield _found(look, "dns.nss_only", what, "Put such names into DNS", sources=foreign[:20])


def _found(look: StaticObservation, code: str, what: str, mend: str, **detail: Any) -> Finding:
    switch = look.files.nsswitch
    return look.finding(
        code,
        f"{look.the_line(NSSWITCH_FILE, switch.line)} {what}.",
        file=NSSWITCH_FILE,
        line=switch.line,
        text=switch.text,
        fix=look.mend(NSSWITCH_FILE, switch.line or 0, mend),
        **detail,
    )
