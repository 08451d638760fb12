"""dns-01 as values (RFC 8555 section 8.4): where the record stands, what servers say of it, what became of writing it.

Of a record's text only whether it is the wanted one ever leaves the agent that asked. Pure.
"""

import base64

import msgspec

TROUBLE_CODES = {
    "unreachable": "dns01.server_unreachable",
    "zone_not_found": "dns01.zone_not_found",
    "wrong_zone": "dns01.wrong_zone",
    "refused": "dns01.update_refused",
    "tsig": "dns01.tsig",
    "hook": "dns01.hook_failed",
    "journal": "deploy.unwritable",
}
"""The codes of what keeps a record from being written."""


class TxtAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What one nameserver said when it was asked for the record.

    `status`: "ok" (then `records` may be 0: NODATA), "nxdomain", "servfail", "refused", "timeout", "unreachable",
    "malformed", "lame", or another response code in lower case. `matched`: the wanted text was among the records.
    `ttl`: seconds for which the records may be kept. Of a negative answer's SOA: `zone` is its owner, `serial` its
    serial, `negative_for` the seconds for which the answer may be kept (RFC 2308 section 5). `is_own`: the server
    answers with authority, from its own data.
    """

    nameserver: str
    name: str
    status: str
    records: int = 0
    matched: bool = False
    ttl: int | None = None
    zone: str | None = None
    serial: int | None = None
    negative_for: int | None = None
    is_own: bool = False


class TxtLookup(msgspec.Struct, frozen=True, kw_only=True):
    """The record looked up as the CA does it. `answers` in the order of the questions, without
    records those for the plain name at the end; the last one decides.

    `error`: null with records, else the last answer's status, "nodata" for none of that type, "no_nameserver".
    """

    name: str
    answers: tuple[TxtAnswer, ...] = ()
    error: str | None = None

    @property
    def matched(self) -> bool:
        """Whether the CA would find the text that it wants."""
        return self.error is None and bool(self.answers) and self.answers[-1].matched


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """What became of writing a record to its zone, and which of the zone's servers have it.

    `trouble`: null once the primary has taken it, else "unreachable" (nobody answers on TCP), "zone_not_found",
    "wrong_zone" (the name is in `zone`, which is not the configured one), "refused" (`rcode` says how), "tsig"
    (`rcode` is "BADKEY", "BADSIG", "BADTIME" or "BADTRUNC"), "hook" (`server` is then the program
    that failed) or "journal" (the agent cannot note it down, in `file` as far as that is known, and so writes nothing).
    `serial`: the zone's after the change.
    """

    server: str
    name: str
    zone: str | None = None
    wanted_zone: str | None = None
    key_name: str = ""
    key_file: str = ""
    trouble: str | None = None
    rcode: str | None = None
    detail: str = ""
    file: str | None = None
    serial: int | None = None
    servers: tuple[TxtAnswer, ...] = ()
    strangers: int = 0  # records at that name that are not ours
    removed: int = 0  # records of an earlier run of this agent, taken away before

    def unkept(self, error: OSError) -> "Publication":
        """Nothing was written: what has to be taken away again could not be noted down first."""
        file = str(error.filename) if error.filename is not None else None
        detail = f"{file or 'the state'} cannot be written: {error.strerror or error}"
        return msgspec.structs.replace(self, trouble="journal", detail=detail, file=file)

    @property
    def missing(self) -> tuple[TxtAnswer, ...]:
        """The zone's servers that answer, and do not have it."""
        return tuple(one for one in self.servers if not one.matched)


def record_name(identifier: str) -> str:
    """Where the CA looks: of a wildcard below the name that the star stands for."""
    return "_acme-challenge." + identifier.removeprefix("*.")


def text_of(digest: bytes) -> str:
    """The record's text for a SHA-256: base64url without padding."""
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
