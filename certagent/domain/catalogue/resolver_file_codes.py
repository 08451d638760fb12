"""The catalogue: resolver files, the nameservers that they name, and what those have in files. Data only."""

from collections.abc import Mapping

from certagent.domain.catalogue.entry import NO_ADDRESS_FIX, Trait, entry
from certagent.domain.findings import Severity, Vantage

FATAL, ERROR, WARN, INFO = Severity
AUTHORITY, CLIENT, WIRE, STATIC = Vantage.AUTHORITY, Vantage.CLIENT, Vantage.WIRE, Vantage.STATIC

_WRITTEN_BY = "[edit_at? ({manager} writes it: change it {edit_at})]"
_MANAGED = "[edit_at?: {manager} manages that line, so change it {edit_at}]."
_LINE = "Line {line} of {file} on {node}"
_PLACE = "line {line} of {file} on {node}"
_RESOLV_FIX = f"Correct or remove {_PLACE}{_MANAGED}"


def _lines(clauses: Mapping[str, str], fix: str) -> dict[str, tuple[str, str | None]]:
    """A variant for each thing that may be wrong with a line."""
    return {name: (f"{_LINE} {clause}.", fix) for name, clause in clauses.items()}


ENTRIES = (
    entry(
        "dns.file_unreadable",
        FATAL,
        meaning="The CA's user cannot read the hosts file or resolv.conf, so the CA ignores it.",
        cause="The file was written with a restrictive umask.",
        action="`chmod a+r` the file.",
        explanation="The user that the CA on {node} runs as cannot read {file}, so the CA ignores it.",
        fix="On {node}: chmod a+r {file}[is_hosts?, then touch {file}: otherwise the CA does not reread it].",
    ),
    entry(
        "dns.hosts_overruled",
        INFO,
        meaning=(
            "nsswitch.conf asks DNS before the hosts file, so hosts lines decide only names that DNS does not know."
        ),
        cause="The order of sources in nsswitch.conf was changed.",
        action="Nothing, if it is intended; else `hosts: files dns`.",
        explanation=f"{_LINE} asks DNS first: the hosts file [never_read?is never read]"
        "[!never_read?decides only names that DNS does not know].",
        fix=f"Write `files dns` in {_PLACE}{_MANAGED}",
        sample={"file": "/etc/nsswitch.conf"},
    ),
    entry(
        "dns.hosts_ignored",
        WARN,
        meaning="A hosts line looks as if it had an effect, but has none.",
        cause="A typing error, a byte order mark, or a line that is too long.",
        action="Correct the line as the finding says.",
        variants=_lines(
            {
                "no_address": "has no effect: it does not begin with an address",
                "no_name": "has no effect: it has an address but no name",
                "comment_mark": "has no effect: {word} does not begin a comment in a hosts file, only # does",
                "name_first": "has no effect: it begins with {word}, but the address comes first and then the names",
                "mask": "has no effect: {word} is a network, not an address",
                "brackets": "has no effect: it begins with {word}, but an address has no brackets here",
                "leading_zero": "has no effect: {word} has leading zeros, so it is not an address",
                "out_of_range": "has no effect: {word} looks like an address, but is not one",
                "address_url": "has no effect: it begins with {word}, but only an address belongs here, not a URL",
                "address_port": "has no effect: it begins with {word}, but a hosts file has no ports",
                "address_quotes": "has no effect: it begins with {word}, but an address has no quotes here",
                "address_punctuation": "has no effect: it begins with {word}, whose punctuation makes the "
                "address invalid",
                "address_not_ascii": "has no effect: it begins with {word}, whose digits are not ASCII",
                "invisible": "contains {word}, which has no effect: it has an invisible character, and only "
                "spaces and tabs "
                "separate fields",
                "scheme": "names {word}, which has no effect: a hosts file takes names, not URLs",
                "port": "names {word}, which has no effect: a hosts file has no ports",
                "path": "names {word}, which has no effect: a name has no slash",
                "wildcard": "names {word}, which has no effect: a hosts file has no wildcards",
                "comma": "names {word}, which has no effect: names are separated by spaces, and a comma is part "
                "of the name",
                "quotes": "names {word}, which has no effect: quotes are part of the name",
                "punctuation": "names {word}, which has no effect: the character at its end is part of the name",
                "not_ascii": "names {word}, which has no effect: programs look up names in ASCII (punycode)",
                "not_a_name": "names {word}, which has no effect: it is not a host name, so no program looks it up",
                "second_address": "names {word}, which has no effect: a line has one address, and names after it",
                "ends_early": "names only {word}: # begins a comment, even in the middle of a word",
            },
            f"Correct or remove {_PLACE}{_MANAGED}",
        )
        | _lines(
            {"byte_order_mark": "has no effect: it begins with a byte order mark, which makes its address invalid"},
            f"Save the file without a byte order mark ({_PLACE}){_MANAGED}",
        )
        | _lines(
            {
                "not_read": "has no effect: it is longer than Go reads (64 KiB), so it and all lines after it are"
                " ignored"
            },
            f"Split {_PLACE} into several{_MANAGED}",
        ),
    ),
    entry(
        "dns.resolv_conf_broken",
        ERROR,
        meaning="resolv.conf is missing, a dangling link, or names no nameserver.",
        cause="The program that writes it is not running, or was removed.",
        action="Give it a nameserver.",
        explanation="{file} on {node} [missing?does not exist, or is a link whose target does not exist]"
        "[!missing?names no nameserver].",
        fix="Add a line `nameserver ADDRESS` to {file} on {node}.",
        variants={
            "dangling": (
                "{file} on {node} is a link to {target}, which does not exist.",
                "Add a line `nameserver ADDRESS` to {file} on {node}.",
            ),
            "unresolved": (
                "[by_ca?The CA on ]{asker} cannot resolve {identifier}: resolv.conf names no nameserver[asked?"
                " (asked: {asked})].",
                "In {file} on {node}, name the fleet's nameserver.",
            ),
        },
    ),
    entry(
        "dns.resolver_public",
        {AUTHORITY: ERROR, WIRE: ERROR, STATIC: WARN},
        meaning="A public nameserver is asked for the fleet's names, first or as a fallback.",
        cause="A public server was added to resolv.conf as a fallback.",
        action="Name only the fleet's nameservers in resolv.conf.",
        explanation="The nameserver {place} of [by_ca?the CA on ]{asker} is public and knows nothing about this fleet.",
        fix="Name the fleet's own nameserver in line {line} of {file} on {node}.",
        variants={
            "static": (
                "{address} is a public nameserver, and [is_first?the first one to be asked]"
                "[!is_first?is asked when the one before it does not answer] for {zones}: names that only the fleet"
                " knows do"
                " not exist there (line {line} of {file} on {node}).",
                f"Name only nameservers that know the fleet's zones (line {{line}} of {{file}} on {{node}}){_MANAGED}",
            )
        },
        sample={
            "address": "9.9.9.9",
            "place": "9.9.9.9",
            "file": "/etc/resolv.conf",
            "zones": ["internal.thinkheads.ai"],
        },
    ),
    entry(
        "dns.resolver_dead",
        {AUTHORITY: FATAL, WIRE: WARN, CLIENT: WARN},
        meaning="A nameserver of resolv.conf does not answer.",
        cause="It is down, or it was replaced and resolv.conf still names it.",
        action="Start it, or remove the line.",
        traits=Trait.PATH | Trait.DEAD_PORT,
        explanation="The nameserver {place} of [by_ca?the CA on ]{asker} does not answer; others do.",
        fix="Start it[line?, or remove line {line} of {file} on {node}].",
        variants={
            "unresolved": (
                "[by_ca?The CA on ]{asker} cannot resolve {identifier}: no nameserver can be reached[asked? (asked:"
                " {asked})].",
                NO_ADDRESS_FIX,
            )
        },
    ),
    entry(
        "dns.resolver_not_internal",
        ERROR,
        meaning="A nameserver does not know the zone that another one knows.",
        cause="resolv.conf names a nameserver of another network, or a router.",
        action="Name the fleet's own nameserver in resolv.conf.",
        explanation="The nameserver {place} of [by_ca?the CA on ]{asker} says that {identifier} does not exist, while"
        " {others} knows it.",
        fix="Name the fleet's own nameserver in line {line} of {file} on {node}.",
    ),
    entry(
        "dns.resolv_conf_ignored",
        WARN,
        meaning="A line of resolv.conf has no effect, or (`no-reload`) prevents later edits from taking effect.",
        cause="A typing error, or an option of another resolver.",
        action="Correct or remove the line.",
        variants=_lines(
            {
                "unknown_keyword": "has no effect: {word} is not a known keyword",
                "no_address": "has no effect: a nameserver must be given by its address",
                "several_nameservers": "names {values}, but only the first one counts; write a line for each",
                "too_many": "names {address}, which is never asked: only the first {most} nameservers are used",
                "not_last": "has no effect: only the last `search` or `domain` line counts",
                "no_domain": "names no domain",
                "comment_in_search": "turns {word} and what follows into search domains; a comment needs a line of"
                " its own",
                "not_a_domain": "contains {word}, which is not a domain name",
                "several_domains": "names several domains, but `domain` takes only one; use `search`",
                "comment_in_options": "turns {word} and what follows into options; a comment needs a line of its own",
                "no_reload": "sets {word}: later edits of this file have no effect until the CA is restarted",
                "unknown_option": "contains the unknown option {word}",
                "not_a_number": "sets {option} to {word}, which is not a number",
                "out_of_range": "sets {option} to {word}, which is read as {limit}",
                "not_read": "is longer than Go reads (64 KiB): it and all lines after it have no effect",
            },
            _RESOLV_FIX,
        ),
        sample={"file": "/etc/resolv.conf"},
    ),
    entry(
        "dns.resolv_conf_differs",
        INFO,
        meaning="Go and libc read a line of resolv.conf differently.",
        cause="An option that only one of the two knows, or an indented line.",
        action="Nothing, if it is intended.",
        variants=_lines(
            {
                "indented": "is indented: Go reads it anyway, libc does not",
                "sortlist": "sorts addresses for libc only; Go has no sortlist",
                "libc_option": "sets {word}, which Go does not know",
            },
            _RESOLV_FIX,
        ),
        sample={"file": "/etc/resolv.conf"},
    ),
    entry(
        "dns.nsswitch_ignored",
        WARN,
        meaning="Go cannot parse nsswitch.conf and ignores the whole file.",
        cause="A line is malformed.",
        action="Correct the line.",
        explanation=f"{_LINE} has {{problem}}: Go ignores the whole file then and asks files, then dns.",
        fix=f"Correct {_PLACE}{_MANAGED}",
        sample={"file": "/etc/nsswitch.conf", "problem": "a bracket that is not closed"},
    ),
    entry(
        "dns.nsswitch_no_dns",
        ERROR,
        meaning="nsswitch.conf excludes DNS.",
        cause="`dns` was removed from the line `hosts:`.",
        action="`hosts: files dns`.",
        explanation=f"{_LINE} excludes DNS: Go then knows only the names in the hosts file.",
        fix=f"Add `dns` after `files` in {_PLACE}{_MANAGED}",
        sample={"file": "/etc/nsswitch.conf"},
    ),
    entry(
        "dns.managed_file",
        WARN,
        meaning="A line was edited by hand in a file that another program rewrites.",
        cause="The file has a manager: Proxmox VE, cloud-init, Docker, systemd-resolved and others.",
        action="Make the change where the file is generated.",
        variants={
            "hosts_line": (
                f"{_LINE} names {{names}} in a section that {{manager}} writes: it is lost at the next start"
                "[unless_set_there?, unless it was set there].",
                f"Set it where it persists ({_PLACE}){_MANAGED}",
            ),
            "setting": (
                f"{_LINE} sets {{word}} in a section that {{manager}} writes: it is lost at the next start.",
                f"Move it below the section ({_PLACE}){_MANAGED}",
            ),
            "torn_section": (
                f"{_LINE} is one marker of Proxmox's section, but the other one ({{mark}}) is missing: Proxmox does not"
                f" find"
                " the section and writes another one at the next start.",
                "Restore the marker in {file} on {node}.",
            ),
        },
        sample={"manager": "proxmox"},
    ),
    entry(
        "dns.local_answer",
        INFO,
        meaning="A DNS server answers for a name of the fleet from a line in one of its own files.",
        cause="It was added by hand: in a hosts file that dnsmasq serves, or as a record of unbound or AdGuard Home.",
        action="Nothing, if the address is right.",
        traits=Trait.PATH | Trait.NAMESERVER_FILES,
        explanation="{server} on {node} answers {address} for {identifier}, because line {line} of {file} says so.",
        fix=f"Give {{identifier}} its right address in line {{line}} of {{file}} on {{node}}: {{text}}{_WRITTEN_BY}",
        variants={
            "below": (
                "{server} on {node} answers {address} for {identifier} and every name below it, because line {line} "
                "of {file} says so.",
                "Give {identifier} its right address in line {line} of {file} on {node}, or give those names their "
                "own lines: {text}",
            )
        },
        sample={"server": "dnsmasq", "file": "/etc/dnsmasq.hosts/fleet"},
    ),
)
