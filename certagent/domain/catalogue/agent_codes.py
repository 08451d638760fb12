"""The catalogue: certificates' lifetimes and owners, agents, the link to the collector, and the collector itself.
Data only."""

from certagent.domain.catalogue.entry import Trait, entry
from certagent.domain.findings import Severity

FATAL, ERROR, WARN, INFO = Severity

_WATCHED = "[!managed?Check the log of the program that renews it.][managed?See the findings about its renewal.]"
_NOT_RENEWED = (
    "[managed?certagent][!managed?the program that renews it (certagent only watches it)] has not renewed it."
)
_WITH_CHAIN = "[issuer? with {issuer} in its chain]"
_SILENT = "[silent_since?; its agent has not been heard from since {silent_since}]"
_STATUS = (
    "On {node}: `certagent status` shows the result of the last renewal; then run `certagent renew {certificate}`."
)

_REFUSED = (
    "[target?{target}: ]{endpoint} serves the right certificate for {server_name}, but a client rejects it: {said}."
)

ENTRIES = (
    entry(
        "cert.expiring",
        ERROR,
        meaning="Less than a fifth of the served certificate's lifetime is left.",
        cause="Its renewal fails, or nothing renews it.",
        action=(
            "See the findings about its renewal; for a watched certificate, check the log of the program that "
            "renews it."
        ),
        traits=Trait.LIFETIME,
        explanation=f"{{what}} for {{certificate}} expires {{until}}{_WITH_CHAIN}; {_NOT_RENEWED}",
        fix=_WATCHED,
        variants={
            "fleet": (
                f"The certificate {{certificate}} on {{node}} expires at {{until}} without a renewal{_SILENT}.",
                _STATUS,
            )
        },
        sample={"managed": True},
    ),
    entry(
        "cert.expired",
        FATAL,
        meaning="The certificate has expired.",
        cause="Its renewal failed, or nothing renews it.",
        action="Renew it; that needs a challenge now.",
        traits=Trait.LIFETIME,
        explanation=f"{{what}} for {{certificate}} expired {{until}}{_WITH_CHAIN}; {_NOT_RENEWED}",
        fix=_WATCHED,
        variants={
            "fleet": (
                f"The certificate {{certificate}} on {{node}} expired at {{until}} without a renewal{_SILENT}.",
                _STATUS,
            ),
            "staged": (
                "The staged {staged} is not promoted: it was valid until {until}, and it is now {now}.",
                "Correct the clock of this node or of the CA; then run `certagent renew {certificate} --force`.",
            ),
        },
        sample={"managed": True},
    ),
    entry(
        "cert.chain_ends_first",
        ERROR,
        meaning="A certificate in the chain expires before the leaf; after that, no client accepts the leaf.",
        cause="The CA's intermediate is about to expire.",
        action="Give the CA a new intermediate; certagent then renews automatically.",
        traits=Trait.ENDS_LIFE,
        explanation="{certificate} is valid until {needed}, but {issuer} in its chain expires {until}: after "
        "that, every "
        "client rejects it.",
        fix="Give the CA a new intermediate certificate[file? ({file} on {node})] and restart it; certagent then "
        "renews {certificate} automatically.",
        sample={"needed": "2026-11-25 11:50 UTC"},
    ),
    entry(
        "cert.chain_refused",
        ERROR,
        meaning="The right certificate is served, but a client that trusts the root rejects it.",
        cause="An intermediate is missing, has expired, or is in the wrong place.",
        action="Serve the leaf, then every intermediate, each after the certificate that it issued.",
        variants={
            "untrusted": (
                _REFUSED,
                "Serve every intermediate after the leaf, and nothing else: use the whole chain that the CA issued "
                "(`fullchain.pem`), not only its first certificate.",
            ),
            "expired": (
                _REFUSED,
                "Replace that certificate of the CA with a valid one, and restart the CA; then run `certagent renew "
                "{certificate} --force`.",
            ),
            "name_mismatch": (
                _REFUSED,
                "Use a name that the certificate covers: correct `identifiers` or `prove` of {certificate}.",
            ),
            "out_of_order": (
                "[target?{target}: ]{endpoint} serves the right certificate for {server_name}, but not every client "
                "accepts its chain: {said}.",
                "Put the leaf first, then each certificate after the one that it issued, and remove all others.",
            ),
        },
        sample={"said": "unable to get local issuer certificate"},
    ),
    entry(
        "cert.renewal_impossible",
        ERROR,
        meaning="The renewal is due too late to leave time for a retry and a proof.",
        cause="Its lifetime is too short for the policy.",
        action="Request a longer lifetime, or lower `renewal.due_after`.",
        explanation="{certificate} is valid for {lifetime}, of which {left} remain when its renewal is due; a renewal "
        "with one retry and a proof may take {needed}.",
        fix="Make the CA issue for longer (the certificate's `lifetime`, the provisioner's claims), or lower"
        " renewal.due_after in the policy.",
    ),
    entry(
        "cert.unmanaged",
        WARN,
        meaning="nginx or Traefik serves a certificate that no agent watches or renews.",
        cause="The certificate is missing from the agent's configuration.",
        action="Add a `certificate` section for it.",
        explanation="{server} serves {file} for [names?{names}][!names?any name], but no agent watches or renews "
        "it[until?; it expires {until}].",
        fix="Add a `certificate` section for it; with `manage = false` if another program renews it.",
    ),
    entry(
        "cert.two_owners",
        ERROR,
        meaning="Another agent already manages this certificate.",
        cause="Two configurations on the node contain the same certificate.",
        action="Remove it from one configuration.",
        explanation="{holder} already manages {certificate}; this agent leaves it alone until the other one stops.",
        fix="Remove {certificate} from one of the two configurations, or set `manage = false` there.",
    ),
    entry(
        "cert.reissue_loop",
        ERROR,
        meaning="Something renews the certificate again and again.",
        cause="Two clients replace each other's certificate, or the new one is never served.",
        action="Find out what else renews it.",
        explanation="{certificate} was reissued {count} times within {span}, although each certificate is valid for "
        "{lifetime}: something renews it again and again.",
        fix="Find out what else renews it, and whether the certificate that is issued is the one that is served.",
        sample={"span": "0:20:00", "lifetime": "1 day, 0:00:00"},
    ),
    entry(
        "traefik.renews_too_late",
        ERROR,
        meaning="A certificate resolver of Traefik assumes that a private CA's certificates are valid for 90 days.",
        cause="`certificatesDuration` is not set.",
        action="Set `certificatesDuration`.",
        explanation="Traefik's resolver {resolver} uses {server}, but `certificatesDuration` does not say how "
        "long that "
        "CA's certificates are valid: it assumes 90 days, checks once a day, and lets shorter ones expire.",
        fix="Add `certificatesDuration: 24` (hours) to certificatesResolvers.{resolver}.acme; restart Traefik.",
        sample={"server": "step-ca.internal.thinkheads.ai"},
    ),
    entry(
        "agent.silent",
        ERROR,
        meaning=(
            "The agent has not been heard from for five minutes; if most agents are silent, one incident covers "
            "them all."
        ),
        cause="The container or the agent is stopped, or the network is down.",
        action="Check its unit, its container, its route to the collector.",
        explanation="{node} has not been heard from since {since}: its certificates are neither watched nor renewed.",
        fix="On {node}: systemctl status certagent-agent; check that the container runs and reaches the collector.",
        variants={
            "most": (
                "{count} of {total} agents have not been heard from since {since}.",
                "Check what they have in common: the network, the collector's address or certificate, their host.",
            )
        },
    ),
    entry(
        "agent.cloned",
        ERROR,
        meaning="Two running agents use the same name and token.",
        cause="A container was cloned with its agent, or the token was stolen.",
        action="Give the copy a name and a token of its own, or stop it.",
        explanation="Two agents connect as {node}: one from {address}, which is accepted, and since {since} one from "
        "{others}, which is refused; its reports are ignored.",
        fix="Stop the copy, or give it its own identity: another `name` in its agent.toml, an empty state folder,"
        " and a token of that name (on the collector's node: certagent token add). If you know of no copy, "
        "assume that the token of {node} was stolen: revoke it, and add a new one.",
        sample={"others": ["10.0.0.101"], "address": "10.0.0.12", "since": "2026-11-24 12:00 UTC"},
    ),
    entry(
        "agent.enrolled_twice",
        ERROR,
        meaning=(
            "A line of `certagent enrol` was used a second time, while the token from its first use is still valid."
        ),
        cause="It was pasted twice, or it was leaked.",
        action="Unless it was pasted twice: revoke the token, and enrol the node again.",
        explanation="The line that enrolled {node} from {address} was used again from {others} ({since}), and refused. "
        "Whoever used it first acts as {node}.",
        fix="If both were you, acknowledge this. If not, the line was leaked, and somebody else may have used it "
        "first: on the collector's node, certagent token revoke {node}, then certagent enrol {node}, and "
        "paste the new line into the container alone.",
        sample={
            "address": "10.0.0.12",
            "others": ["10.0.0.66"],
            "since": "2026-11-24 12:05 UTC",
        },
    ),
    entry(
        "fleet.disputed",
        WARN,
        meaning="Several nodes report an identifier or address as their own, but it does not belong to all of them.",
        cause="A node was replaced or copied, a high-availability pair was added, or an agent is dishonest.",
        action="Bind it to the nodes that it belongs to: `certagent token bind`.",
        explanation="{node} has reported {identifier} as its own since {since}[others?; it belongs to "
        "{others}][!others?;"
        " it is bound to another node]. The claim is ignored.",
        fix="If it belongs to {node} as well, bind {identifier} to all of its nodes on the collector's node "
        "(certagent token bind). If not, find out why {node} reports it.",
        variants={
            "address": (
                "{node} has reported the address {address} as its own since {since}[others?; it belongs to "
                "{others}][!others?; it is bound to another node]. The claim is ignored.",
                "If it belongs to {node} as well, bind {address} to all of its nodes on the collector's node "
                "(certagent token bind). If not, find out why {node} reports it.",
            )
        },
        sample={"others": ["lxc102"], "since": "2026-11-24 12:00 UTC"},
    ),
    entry(
        "agent.changed_while_down",
        INFO,
        meaning="A file changed while the agent was not running.",
        cause="Somebody edited it, or a program rewrote it.",
        action="Nothing.",
        explanation="{file} on {node} changed while the agent was not running: [changes?{changes}][!changes?it was"
        " removed].",
        sample={"changes": ["+ 10.0.0.153 traefik.internal.thinkheads.ai"]},
    ),
    entry(
        "agent.alone",
        INFO,
        meaning="No collector is configured: what this agent finds is reported to nobody.",
        cause="The agent's configuration has no section `collector`.",
        action="Nothing; or set up a collector.",
        explanation="{reporter} works alone. It sees its own files, what its nameservers answer, its services and its"
        " certificates. It does not see the challenge's path from the CA, or other nodes' files. No collector is"
        " configured, so failures are reported to nobody.",
        fix="To have failures reported, set up a collector: `certagent init --collector`.",
        variants={
            "beside_ca": (
                "{reporter} works alone, next to the CA. It sees its own files, what its nameservers answer, its"
                " services, its certificates, and the challenge's path from the CA. It does not see other nodes'"
                " files. No collector is configured, so failures are reported to nobody.",
                "To have failures reported, set up a collector: `certagent init --collector`.",
            )
        },
    ),
    entry(
        "agent.collector_gone",
        WARN,
        meaning="The collector has accepted nothing from this agent for five minutes.",
        cause="The collector is down, unreachable, or refuses the token.",
        action="Check its unit, the route to it, the token.",
        explanation="The collector at {url} has accepted nothing from {reporter} since {since}: {said}.",
        fix=(
            "On the collector's node: systemctl status certagent-collector; on this node, check its name, its "
            "port and the token."
        ),
    ),
    entry(
        "agent.clock",
        WARN,
        meaning="This node's clock and the collector's clock differ by more than a minute.",
        cause="Time synchronization is off on one of them.",
        action="Correct the wrong clock.",
        explanation="The clocks of {reporter} and of the collector at {url} differ by {seconds} s; [is_ahead?the"
        " collector]"
        "[!is_ahead?{reporter}] is ahead, so times of events and of due renewals are wrong there.",
        fix="Find out which clock is wrong (timedatectl), and correct it.",
    ),
    entry(
        "agent.spool_backlog",
        WARN,
        meaning="Reports are waiting for the collector.",
        cause="The collector is unreachable.",
        action="Fix the route to the collector.",
        explanation=(
            "{count} reports are waiting on {reporter} for the collector; they are delivered when it is available"
            " again."
        ),
        fix="Fix the route to the collector; the reports are then delivered automatically.",
    ),
    entry(
        "agent.reports_refused",
        ERROR,
        meaning="The collector refuses reports.",
        cause="Versions differ, or the token belongs to another agent.",
        action="Check versions and tokens.",
        explanation="{count} reports of {reporter} were given up: the collector refused them, or too many were"
        " waiting.",
        fix="The agent's journal says why; delete the contents of {folder} once you have read them.",
    ),
    entry(
        "agent.watch_degraded",
        WARN,
        meaning="Files are polled once a second, because inotify is unavailable.",
        cause="The host's limit of inotify instances or watches is reached.",
        action="Raise `fs.inotify.max_user_instances` on the host.",
        explanation="File changes are detected by polling once a second: {said}.",
        fix="On the host, raise fs.inotify.max_user_instances, or max_user_watches where the reason says so.",
    ),
    entry(
        "channel.refused_question",
        WARN,
        meaning="The collector asked for something that agents do not support.",
        cause="The collector is newer than the agent.",
        action="Check the versions.",
        explanation="The collector asked for something that this agent does not support: {said}",
        fix="Check whether the collector is newer than this agent, or an impostor.",
    ),
    entry(
        "collector.channel_failing",
        ERROR,
        meaning="A channel has accepted no message for five minutes, or a message was given up.",
        cause="Its receiver is unavailable, refuses the messages, or its URL is wrong.",
        action="Check the receiver and the `[[channel]]` section.",
        explanation="Alerts do not arrive: nothing has been accepted by {channels} since {since} ({said}).",
        fix="Check the receiver, and its section in collector.toml; `certagent channel test` sends a message.",
        sample={"channels": ["phone"], "since": "2026-11-24 03:00 UTC", "said": "HTTP 404"},
    ),
)
