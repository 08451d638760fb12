"""The catalogue: tls-alpn-01 and dns-01. Data only."""

from certagent.domain.catalogue.entry import Trait, entry
from certagent.domain.findings import Severity

FATAL, ERROR, WARN, INFO = Severity

_PASSTHROUGH = (
    "Make it pass connections for {identifier} through to the responder without terminating TLS (TLS passthrough)."
)
_OTHER_RESPONDER = "Correct the responder there, or send the connection to certagent's responder."
_SPEAKS = "{place} port {port} speaks acme-tls/1 for {identifier}, but "
_UNWRITTEN = "{reporter} cannot write the record {record} for {identifier}: "
_NOT_FOUND = "The CA does not find the record {record}: {place}, which it asks, "

ENTRIES = (
    entry(
        "alpn.responder_absent",
        FATAL,
        meaning="The agent's own responder does not present the challenge certificate.",
        cause="Its port is taken.",
        action="Check its port and the agent's journal.",
        traits=Trait.OWN_INABILITY | Trait.DEAD_PORT | Trait.EXPLAINS_ANSWER,
        explanation="The responder on {listen} did not present the challenge certificate on {node} itself: "
        "[said?{said}][!said?it gave no reason].",
        fix="Check who listens on {listen}, and the agent's journal.",
        sample={"listen": "0.0.0.0:443", "said": "the address is in use"},
    ),
    entry(
        "alpn.port_not_443",
        FATAL,
        meaning="The responder does not listen on port 443, and nothing forwards the connection to it.",
        cause="`solver.listen` names another port.",
        action="Listen on port 443, or forward the connection.",
        explanation="The CA connects to port {port} of {place} for {identifier}, but nothing listens there: the"
        " responder"
        " listens on {listen}, and nothing forwards the connection to it.",
        fix="Make the responder listen on port {port}, or forward TLS connections for {identifier} to {listen} "
        "without terminating them.",
        sample={"port": 443, "listen": "127.0.0.1:8443"},
    ),
    entry(
        "alpn.unreachable",
        FATAL,
        meaning="The CA cannot complete a TLS handshake.",
        cause="The service is stopped, or a packet filter is in the way.",
        action="Check the service and the packet filters.",
        traits=Trait.PATH | Trait.DEAD_PORT,
        explanation="The CA cannot complete a TLS handshake with {place} port {port} for {identifier}: {error}"
        "[errno? ({errno})].",
        fix="Check from the CA's node why {address} port {port} does not answer: the service, its packet filter, the"
        " route"
        " back.",
        sample={"port": 443},
    ),
    entry(
        "alpn.no_protocol",
        FATAL,
        meaning="A proxy terminates TLS.",
        cause="The web server terminates the connection instead of passing it through.",
        action="Use TLS passthrough, or http-01.",
        explanation="{place} port {port}[process? ({process})] terminates TLS for {identifier} itself, with a"
        " certificate for "
        "[names?{names}][!names?no name], and does not speak acme-tls/1.",
        fix=(
            "Make it pass connections for {identifier} through without terminating TLS (TLS passthrough), or use "
            "http-01."
        ),
        sample={"port": 443},
    ),
    entry(
        "alpn.wrong_certificate",
        FATAL,
        meaning="Another certificate is presented.",
        cause="A proxy terminates TLS, or another responder answers.",
        action="Pass TLS through to the responder.",
        variants={
            "ordinary": (
                _SPEAKS + "presents an ordinary certificate, for [names?{names}][!names?no name].",
                _PASSTHROUGH,
            ),
            "other_challenge": (
                _SPEAKS + "presents the certificate of another challenge: another responder answers.",
                "Send connections for {identifier} to the node that requests it.",
            ),
        },
        sample={"port": 443},
    ),
    entry(
        "alpn.san_mismatch",
        FATAL,
        meaning="The challenge certificate has other names.",
        cause="Another responder answers.",
        action="Check the responder there.",
        explanation=_SPEAKS
        + "presents a challenge certificate for [names?{names}][!names?no name]; it must cover this name only.",
        fix=_OTHER_RESPONDER,
        sample={"port": 443},
    ),
    entry(
        "alpn.bad_extension",
        FATAL,
        meaning="The challenge certificate's acmeIdentifier extension is invalid.",
        cause="Another responder answers, and does not follow RFC 8737.",
        action="Check the responder there.",
        explanation=_SPEAKS + "its certificate's acmeIdentifier extension is invalid: {extension}.",
        fix=_OTHER_RESPONDER,
        sample={"port": 443},
    ),
    entry(
        "dns01.server_unreachable",
        FATAL,
        meaning="The zone's server does not answer.",
        cause="It is down, or port 53 over TCP is blocked.",
        action="Start it; allow TCP to port 53.",
        traits=Trait.OWN_INABILITY,
        explanation=_UNWRITTEN + "nothing answers at {place}: {said}.",
        fix="Start the nameserver at {server}, or fix the route to it (port 53, UDP and TCP).",
    ),
    entry(
        "dns01.zone_not_found",
        FATAL,
        meaning="The server does not have the zone.",
        cause="`solver.server` does not name the zone's primary.",
        action="Correct `solver.server`.",
        traits=Trait.OWN_INABILITY,
        explanation=_UNWRITTEN + "{place} has no zone for it ({said}).",
        fix="Set solver.server to the zone's primary, or add the zone to that server.",
    ),
    entry(
        "dns01.wrong_zone",
        FATAL,
        meaning="The record is in another zone.",
        cause="The name belongs to a delegated zone, or the CA's nameserver has its own copy of the parent zone.",
        action="Correct `solver.zone`, or delegate the zone.",
        traits=Trait.OWN_INABILITY,
        explanation=_UNWRITTEN + "according to {place}, it is in the zone {zone}[wanted_zone?, not in {wanted_zone}].",
        fix="Set solver.zone to {zone}, and solver.server to that zone's primary.",
        variants={
            "seen_by_ca": (
                _NOT_FOUND + "answers from the zone {other_zone}, but the record is in {zone}.",
                "Delegate {zone} in {other_zone}, or forward it to {server} there.",
            )
        },
    ),
    entry(
        "dns01.update_refused",
        FATAL,
        meaning="The server refuses the update.",
        cause="The zone's update policy does not allow the key.",
        action="Correct the zone's update policy.",
        traits=Trait.OWN_INABILITY,
        explanation=_UNWRITTEN + "{place} refuses the update ({rcode}).",
        fix="Allow the key {key_name} to change TXT records there (BIND: update-policy or allow-update of the zone"
        " {zone}).",
        sample={"rcode": "REFUSED"},
    ),
    entry(
        "dns01.tsig",
        FATAL,
        meaning="The server does not accept the TSIG key.",
        cause="Name, algorithm or secret differ, or a clock is wrong.",
        action="Compare name, algorithm, secret and clock.",
        traits=Trait.OWN_INABILITY,
        explanation=_UNWRITTEN + "{place} does not accept the key {key_name} ({rcode})[said?: {said}].",
        fix="Compare key name, algorithm and secret with the server's.",
        variants={
            "BADKEY": (
                _UNWRITTEN
                + "{place} does not accept the key {key_name} (BADKEY): it has no key of that name, or expects"
                " another algorithm.",
                "Add the key to the server under that name, or use one that it has (key_name, key_algorithm).",
            ),
            "BADSIG": (
                _UNWRITTEN + "{place} does not accept the key {key_name} (BADSIG): its secret for that key differs.",
                "Put the server's secret for that key into the key file.",
            ),
            "BADTIME": (
                _UNWRITTEN
                + "{place} does not accept the key {key_name} (BADTIME): its clock and this node's differ too much.",
                "Correct the wrong clock; TSIG tolerates at most five minutes.",
            ),
            "BADTRUNC": (
                _UNWRITTEN
                + "{place} does not accept the key {key_name} (BADTRUNC): the signature is truncated too much.",
                "Compare key name, algorithm and secret with the server's.",
            ),
        },
        sample={"rcode": "NOTAUTH"},
    ),
    entry(
        "dns01.hook_failed",
        FATAL,
        meaning="The program that publishes the record failed, or did not finish.",
        cause="The program or its DNS provider has a problem.",
        action="Run it by hand.",
        traits=Trait.OWN_INABILITY,
        explanation=_UNWRITTEN + "{said}.",
        fix="Run it by hand as root: {server} ... present {record} TEXT.",
        sample={"said": "/usr/local/bin/publish exited with status 7", "server": "/usr/local/bin/publish"},
    ),
    entry(
        "dns01.not_on_all_servers",
        FATAL,
        meaning="One of the zone's servers does not have the record.",
        cause="Zone transfers to it fail, or it is down.",
        action="Check its zone transfers.",
        explanation="{primary} accepted the record {record}, but {place}, which the zone names as its server, "
        "{answer}.",
        fix="Make sure that it receives the zone's changes (NOTIFY, transfer, key), or remove it from the zone's NS"
        " records.",
    ),
    entry(
        "dns01.authority_cannot_see",
        FATAL,
        meaning="The CA's nameserver does not find the record.",
        cause="It does not forward the zone, or has its own copy of it.",
        action="Make it forward the zone.",
        explanation=_NOT_FOUND + "{answer}[is_own?, from its own data, without asking the zone's server].",
        fix="Make {address} forward {zone} to {server}.",
        variants={
            "other_records": (
                _NOT_FOUND + "has {count} other records there[seconds? and may keep them for {seconds} s].",
                "Wait that long, or flush its cache; make sure that it asks the zone's own servers.",
            ),
            "no_nameserver": (
                "The CA on {node} has no nameserver to ask for the record of {identifier}.",
                "Add a nameserver that knows the zone to {file} on {node}.",
            ),
        },
    ),
    entry(
        "dns01.negative_cached",
        FATAL,
        meaning="The CA's nameserver has cached that the record does not exist.",
        cause="It was asked before the record was published.",
        action="Wait for the time that the finding gives.",
        explanation=_NOT_FOUND + "has cached that the record does not exist, for another {seconds} s.",
        fix="Wait {seconds} s (certagent tries again), or flush its cache; a smaller negative TTL in the zone's SOA"
        " shortens it.",
    ),
    entry(
        "dns01.leftover",
        INFO,
        meaning="There were other records at the name.",
        cause="An earlier run was killed, or another client writes there.",
        action="Nothing.",
        explanation="There were other records at {record}[removed?; an earlier run of this agent left {removed}, now "
        "removed][strangers?; {strangers} do not belong to this agent].",
        fix="Nothing to do for this agent's own; find out who else writes there, and remove what is not needed.",
        sample={"strangers": 0},
    ),
)
