"""The catalogue: how names resolve, at the CA, on this node and at the nameservers. Data only."""

from certagent.domain.catalogue.entry import NO_ADDRESS_FIX, Trait, entry
from certagent.domain.findings import Severity, Vantage

FATAL, ERROR, WARN, INFO = Severity
AUTHORITY, CLIENT, WIRE, STATIC = Vantage.AUTHORITY, Vantage.CLIENT, Vantage.WIRE, Vantage.STATIC

_REMOVE_HOSTS_LINE = (
    "[!manager?Remove line {line} of {file} on {node}: {text}]"
    "[manager?Change it where {manager} sets it: {manager} rewrites line {line} of {file} on {node}.]"
)
_WRITTEN_BY = "[edit_at? ({manager} writes it: change it {edit_at})]"
_MANAGED = "[edit_at?: {manager} manages that line, so change it {edit_at}]."
_ASKED = "[asked? (asked: {asked})]."
_ASKER = "[by_ca?The CA on ]{asker}"


def _unresolved(clause: str) -> tuple[str, str]:
    return f"{_ASKER} cannot resolve {{identifier}}: {clause}{_ASKED}", NO_ADDRESS_FIX


ENTRIES = (
    entry(
        "dns.hosts_shadow.authority",
        FATAL,
        meaning="A line in the CA's hosts file overrides DNS, so the CA connects to the wrong address.",
        cause="A static entry was added to the CA's hosts file and the service has moved since, or was never there.",
        action="Remove the line.",
        explanation="The CA on {node} connects to {place} for {name}, because line {line} of {file} overrides DNS"
        "[answers?; DNS says {answers}][!answers?; DNS has no address for it].",
        fix=_REMOVE_HOSTS_LINE,
    ),
    entry(
        "dns.hosts_shadow.client",
        {STATIC: ERROR, CLIENT: WARN},
        meaning="A line in this node's hosts file overrides DNS for a name of the fleet.",
        cause="A static entry was added to this node's hosts file.",
        action="Remove the line.",
        traits=Trait.NONE,
        explanation="{node} connects to {place} for {name}, because line {line} of {file} overrides DNS"
        "[answers?; DNS says {answers}][!answers?; DNS has no address for it].",
        fix=_REMOVE_HOSTS_LINE,
    ),
    entry(
        "dns.hosts_shadow.nameserver",
        ERROR,
        meaning="The DNS server's own hosts file overrides its zone, for every client.",
        cause="dnsmasq serves the lines of its host's /etc/hosts unless `no-hosts` is set.",
        action="Remove the line, then send dnsmasq SIGHUP.",
        traits=Trait.PATH | Trait.NAMESERVER_FILES,
        explanation="The nameserver on {node} answers {address} for {identifier}, because line {line} of {file}"
        " overrides its own zone, which says {answers}.",
        fix="Remove line {line} of {file} on {node}, then make dnsmasq reread it (SIGHUP): {text}"
        f"{_WRITTEN_BY}",
        variants={
            "hostsdir": (
                "The nameserver on {node} answers {address} for {identifier}, because line {line} of {file}"
                " overrides its own zone, which says {answers}.",
                "Remove line {line} of {file} on {node} (dnsmasq rereads that folder automatically, but notices "
                f"removals only since version 2.87: send older versions SIGHUP): {{text}}{_WRITTEN_BY}",
            ),
            "waiting": (
                "The nameserver on {node} will answer {address} for {identifier} as soon as it is restarted, because"
                " line {line} of {file} overrides its own zone, which says {answers}.",
                f"Remove line {{line}} of {{file}} on {{node}}, before dnsmasq is restarted: {{text}}{_WRITTEN_BY}",
            ),
        },
    ),
    entry(
        "dns.hosts_conflict",
        ERROR,
        meaning="Several hosts lines give one name different addresses.",
        cause="A line was added without removing the older one; the first one wins, for most programs.",
        action="Keep one of the lines.",
        explanation="{count} lines of {file} on {node} name {identifier} with different addresses: {places}.",
        fix="Keep one line for {identifier} in {file} on {node}, or none.",
        variants={
            "static": (
                "Lines {lines} of {file} on {node} give {name} different addresses: {addresses}.",
                f"Keep one of lines {{lines}} for {{name}}, or none{_MANAGED}",
            )
        },
    ),
    entry(
        "dns.hosts_duplicate",
        INFO,
        meaning="Several hosts lines give one name the same address.",
        cause="Provisioning code appended the line again.",
        action="Nothing; keep one of the lines.",
        explanation="{count} lines of {file} on {node} name {identifier} with the same address.",
        fix="Keep one line for {identifier} in {file} on {node}, or none.",
        variants={
            "static": (
                "Lines {lines} of {file} on {node} give {name} the same address.",
                f"Keep one of lines {{lines}} for {{name}}, or none{_MANAGED}",
            )
        },
    ),
    entry(
        "dns.hosts_edit_unseen",
        ERROR,
        meaning="The CA's hosts file changed but kept its size and modification time, so the CA uses the old content.",
        cause="Go rereads the hosts file only when its size or modification time changes.",
        action="`touch` the file, or restart the CA.",
        explanation="{file} on {node} was changed, but its size and modification time stayed the same: the CA keeps the"
        " old content, while this check read the new one.",
        fix="On {node}: touch {file}, or restart the CA.",
    ),
    entry(
        "dns.loopback",
        {AUTHORITY: FATAL, STATIC: ERROR},
        meaning="The name resolves to a loopback address, `0.0.0.0` or `::` at the CA, so the CA connects to itself.",
        cause="Debian's 127.0.1.1 line, a line copied from another node, or a record that was meant to block the name.",
        action="Remove the name from the line, or give it its right address.",
        explanation="The CA on {node} connects to itself, at {place}, for {name}, because line {line} of {file} says so"
        "[answers?; DNS says {answers}][!answers?; DNS has no address for it].",
        fix=_REMOVE_HOSTS_LINE,
        variants={
            "static": (
                "{name} resolves to this node itself ({address}), because line {line} of {file} on {node} says so.",
                f"Remove {{name}} from line {{line}} of {{file}} on {{node}}{_MANAGED}",
            ),
            "dns": (
                "The CA on {looker} connects to itself for {identifier}, because DNS says {place}[asked? (asked:"
                " {asked})].",
                "Give {identifier} its right address[node? at the nameserver on {node}][!node? in DNS].",
            ),
        },
    ),
    entry(
        "dns.nxdomain",
        {AUTHORITY: FATAL, WIRE: ERROR},
        meaning="The name does not exist in DNS.",
        cause="The record was removed, or never added; or the nameserver that was asked does not have the zone.",
        action="Add the record.",
        traits=Trait.PATH | Trait.NAME_VANISHED,
        explanation=f"{_ASKER} cannot resolve {{identifier}}: the name does not exist in DNS{_ASKED}",
        fix=NO_ADDRESS_FIX,
        variants={
            "no_dns": (
                "[by_ca?The CA on ]{asker} cannot resolve {identifier}: the name is in no hosts file, and"
                " nsswitch.conf does not allow DNS.",
                NO_ADDRESS_FIX,
            )
        },
    ),
    entry(
        "dns.nodata",
        {AUTHORITY: FATAL, WIRE: ERROR},
        meaning="The name exists in DNS but has no address.",
        cause="The A record was removed, while other records of the name remain.",
        action="Add the address record.",
        traits=Trait.PATH | Trait.NAME_VANISHED,
        explanation=_unresolved("the name has no address in DNS")[0],
        fix=NO_ADDRESS_FIX,
    ),
    entry(
        "dns.servfail",
        {AUTHORITY: FATAL, WIRE: ERROR},
        meaning="The nameserver fails to answer for the name (SERVFAIL).",
        cause="The server it forwards to is down, or its zone is broken.",
        action="Check the nameserver and the servers it forwards to.",
        traits=Trait.PATH | Trait.DEAD_PORT,
        explanation=_unresolved("the nameserver failed (SERVFAIL)")[0],
        fix=NO_ADDRESS_FIX,
    ),
    entry(
        "dns.refused",
        {AUTHORITY: FATAL, WIRE: ERROR},
        meaning="The nameserver refuses to answer for the name (REFUSED).",
        cause="It has no such zone and does not forward, or its access list excludes the client.",
        action="Check the nameserver's zones and access list.",
        traits=Trait.PATH | Trait.DEAD_PORT,
        explanation=_unresolved("the nameserver refuses to answer (REFUSED)")[0],
        fix=NO_ADDRESS_FIX,
    ),
    entry(
        "dns.timeout",
        {AUTHORITY: FATAL, WIRE: ERROR},
        meaning="No nameserver answers in time.",
        cause="The nameserver is down, or a packet filter drops port 53.",
        action="Check the nameserver and the packet filters.",
        traits=Trait.PATH | Trait.DEAD_PORT,
        explanation=_unresolved("no nameserver answered in time")[0],
        fix=NO_ADDRESS_FIX,
    ),
    entry(
        "dns.tcp_blocked",
        {AUTHORITY: ERROR, WIRE: ERROR},
        meaning="The answer is too long for UDP, and the nameserver does not answer over TCP.",
        cause="A packet filter allows port 53 for UDP only.",
        action="Allow TCP to port 53.",
        traits=Trait.PATH | Trait.DEAD_PORT,
        explanation=_unresolved("the answer is too long for UDP, and the nameserver does not answer over TCP")[0],
        fix=NO_ADDRESS_FIX,
        variants={
            "one_of_several": (
                "The nameserver {place} of [by_ca?the CA on ]{asker} truncates its answer and does not answer over"
                " TCP; another nameserver answers.",
                "Allow TCP to port 53 of {address}, not only UDP.",
            )
        },
    ),
    entry(
        "dns.rebind_filtered",
        {AUTHORITY: ERROR, WIRE: ERROR, STATIC: INFO},
        meaning="The nameserver removes private addresses from forwarded answers.",
        cause="dnsmasq runs with `stop-dns-rebind`.",
        action="Exempt the zone: `rebind-domain-ok=/ZONE/`.",
        traits=Trait.PATH | Trait.NAMESERVER_FILES,
        explanation="The nameserver on {node} has {name} but returns no address: line {line} of {file} makes it remove"
        " private addresses from forwarded answers.",
        fix="Exempt the name on {node}: rebind-domain-ok=/{name}/, then restart dnsmasq.",
        variants={
            "setting": (
                "dnsmasq on {node} removes private addresses from forwarded answers ([file?line {line} of {file}]"
                "[!file?the argument {text}]).",
                "Exempt the fleet's zone on {node}: rebind-domain-ok=/ZONE/, then restart dnsmasq.",
            )
        },
    ),
    entry(
        "dns.zone_gone",
        FATAL,
        meaning="All, or nearly all, managed names of a zone vanished at once; one incident for the zone.",
        cause="The DNS server lost the zone, or its configuration was replaced.",
        action="Check the last change on the DNS server.",
        traits=Trait.PATH | Trait.NODE_WIDE | Trait.EXPLAINS,
        explanation="All names below {zone} vanished at once: {names}.",
        fix="Check the last change on the DNS server[address? at {address}][!address? on {node}]: the zone {zone} is"
        " gone.",
        sample={
            "zone": "internal.thinkheads.ai",
            "names": ["nginx.internal.thinkheads.ai", "traefik.internal.thinkheads.ai"],
        },
    ),
    entry(
        "dns.flapping",
        WARN,
        meaning="DNS alternates between addresses within a minute. An order waits up to three minutes for it to "
        "settle.",
        cause="Two programs update the record, or two servers with different data share an address.",
        action="Find out what changes the record.",
        explanation="DNS alternates between {places} for {identifier}: {count} times within {seconds} s. Orders wait"
        " until the answer has been stable for a minute, within a limit.",
        fix="Find out what changes the record, and whether several servers answer at that address.",
    ),
    entry(
        "dns.aaaa_nxdomain",
        INFO,
        meaning="The A record exists, but the nameserver answers NXDOMAIN for AAAA.",
        cause="dnsmasq's `address=` does that for the record type that is not set.",
        action="Nothing; `host-record=` avoids it.",
        explanation="{place} has an A record for {identifier}, but answers NXDOMAIN for AAAA.",
        fix="Use host-record= instead of address= (dnsmasq); the CA works either way.",
    ),
    entry(
        "dns.address_not_ours",
        FATAL,
        meaning="DNS leads the CA to a node that does not answer the challenge.",
        cause="The record still points to the old node, or to a gateway that does not forward the challenge.",
        action="Correct the record.",
        traits=Trait.PATH | Trait.EXPLAINS_ANSWER,
        explanation="DNS leads the CA to {place}[is_stranger?, which belongs to no node of the fleet,] for"
        " {identifier}, but {client} must answer the challenge.",
        fix="Point the record of {identifier} to [own_addresses?{own_addresses}][!own_addresses?{client}].",
    ),
    entry(
        "dns.authority_not_authority",
        FATAL,
        meaning="The CA's name leads to a machine that is not the CA.",
        cause="A hosts line or a record for the CA's name is out of date.",
        action="Correct the name, or set `authority.addresses`.",
        traits=Trait.OWN_INABILITY | Trait.CA_UNUSABLE | Trait.BLOCKS_RENEWAL,
        explanation="{reporter} connects to {place} for the CA, but that is not the CA: {error}.",
        fix="Make the CA's name resolve to the CA on this node (hosts file, nameserver), or set authority.addresses.",
    ),
    entry(
        "dns.split_horizon",
        {AUTHORITY: ERROR, CLIENT: WARN, WIRE: WARN},
        meaning="Nameservers give different addresses for the name, depending on which one is asked or by whom.",
        cause="Views or zones on the nameservers differ.",
        action="Make the view that the CA sees lead to the responder.",
        explanation="{identifier} has different addresses, depending on which nameserver is asked and from where:"
        " {views}.",
        fix="Make the view that the CA's node sees lead to the responder.",
    ),
    entry(
        "dns.multi_address",
        ERROR,
        meaning="The name has several addresses, and one belongs to another node.",
        cause="An old address was left in the record.",
        action="Remove the address from the record.",
        explanation="{identifier} has {count} addresses, and {place} does not belong to this node ({client}): the CA"
        " may use either.",
        fix="Remove {address} from the record of {identifier}.",
    ),
    entry(
        "dns.aaaa_wrong_host",
        FATAL,
        meaning="The IPv6 address belongs to another machine.",
        cause="The AAAA record is out of date.",
        action="Remove the AAAA record.",
        explanation="Another machine answers at the IPv6 address {place} of {identifier}.",
        fix="Remove the AAAA record of {identifier}, or make the responder answer on that address.",
    ),
    entry(
        "dns.aaaa_dead",
        WARN,
        meaning="Nothing answers at the IPv6 address.",
        cause="The service listens on IPv4 only.",
        action="Remove the AAAA record, or listen on that address.",
        explanation="Nothing answers at the IPv6 address {place} of {identifier}.",
        fix="Remove the AAAA record of {identifier}, or make the responder answer on that address.",
    ),
    entry(
        "dns.search_expansion",
        FATAL,
        meaning="The name itself does not exist; only the name with a search domain appended does.",
        cause="The record is missing, and the CA's search list happens to match another name.",
        action="Add the record for the name itself.",
        explanation="{identifier} does not exist; the CA found {found} through its search list.",
        fix="Add the record for {identifier}, and remove the zone from the CA's search list.",
    ),
    entry(
        "dns.nss_only",
        {AUTHORITY: FATAL, STATIC: INFO},
        meaning="Other programs on the node resolve the name, but the CA, a Go program, cannot.",
        cause="nsswitch.conf names a source that Go does not have, such as mDNS or LDAP.",
        action="Add the name to DNS.",
        explanation="libc on {node} resolves {identifier} to {addresses}, using a source that Go, and so the CA, does"
        " not have.",
        fix="Add {identifier} to DNS.",
        variants={
            "static": (
                "Line {line} of {file} on {node} names {sources}, which Go does not have: names that only these"
                " sources know do not exist for the CA.",
                f"Add such names to DNS (line {{line}} of {{file}} on {{node}}){_MANAGED}",
            )
        },
    ),
)
