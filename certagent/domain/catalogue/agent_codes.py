"""The catalogue: certificates' lifetimes and owners, agents, and the link to the collector. Data only."""

from certagent.domain.catalogue.entry import Trait, entry
from certagent.domain.findings import Severity

FATAL, ERROR, WARN, INFO = Severity

_WATCHED = "[!managed?Check the log of whatever renews it.][managed?See the findings about its renewal.]"
_NOT_RENEWED = "[managed?certagent][!managed?whoever renews it (certagent only watches it)] has not renewed it."
_WITH_CHAIN = "[issuer? with {issuer} in its chain]"
_SILENT = "[silent_since?; its agent has not been heard since {silent_since}]"
_STATUS = "On {node}: `certagent status` shows what became of the last renewal; then `certagent renew {certificate}`."

_REFUSED = (
    "[target?{target}: ]{endpoint} serves the right certificate for {server_name}, but a client refuses it: {said}."
)

ENTRIES = (
    entry(
        "cert.expiring",
        ERROR,
        meaning="Less than a fifth of the served certificate's life is left.",
        cause="Its renewal fails, or nobody renews it.",
        action="See the findings about its renewal; for a watched one, the log of what renews it.",
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
        cause="Its renewal failed, or nobody renews it.",
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
                "The staged {staged} is not promoted: it was valid until {until}, and now it is {now}.",
                "Correct the clock of this node or of the CA; then run `certagent renew {certificate} --force`.",
            ),
        },
        sample={"managed": True},
    ),
    entry(
        "cert.chain_ends_first",
        ERROR,
        meaning="A certificate above the leaf ends before it, and no client accepts the leaf from then on.",
        cause="The CA's intermediate is about to expire.",
        action="Give the CA a new intermediate; certagent then renews by itself.",
        traits=Trait.ENDS_LIFE,
        explanation="{certificate} is valid until {needed}, but {issuer} in its chain ends {until}: from then on every"
        " client refuses it.",
        fix="Give the CA a new intermediate certificate[file? ({file} on {node})] and restart it; certagent then renews"
        " {certificate} by itself.",
        sample={"needed": "2026-11-25 11:50 UTC"},
    ),
    entry(
        "cert.chain_refused",
        ERROR,
        meaning="The right certificate is served, but a client that trusts the root refuses it.",
        cause="An intermediate is missing, has expired, or stands in the wrong place.",
        action="Serve the leaf, then every intermediate, each behind the one that it issued.",
        variants={
            "untrusted": (
                _REFUSED,
                "Serve every intermediate behind the leaf, and nothing in place of them: the whole chain is in the file"
                " that the CA gave (`fullchain.pem`), not only the first certificate of it.",
            ),
            "expired": (
                _REFUSED,
                "Give the CA a certificate that is valid in place of that one, and restart it; then run `certagent"
                " renew {certificate} --force`.",
            ),
            "name_mismatch": (
                _REFUSED,
                "Ask for a name that the certificate is for: correct `identifiers` or `prove` of {certificate}.",
            ),
            "out_of_order": (
                "[target?{target}: ]{endpoint} serves the right certificate for {server_name}, but not every client"
                " accepts the chain behind it: {said}.",
                "Put the leaf first, then each certificate behind the one that it issued, and remove what belongs to"
                " neither.",
            ),
        },
        sample={"said": "unable to get local issuer certificate"},
    ),
    entry(
        "cert.renewal_impossible",
        ERROR,
        meaning="The certificate is due too late for a retry and a proof.",
        cause="Its lifetime is too short for the policy.",
        action="A longer lifetime, or a lower `renewal.due_after`.",
        explanation="{certificate} lives {lifetime}, of which {left} are left when it is due; a renewal with one"
        " retry and a"
        " proof may take {needed}.",
        fix="Make the CA issue for longer (the certificate's `lifetime`, the provisioner's claims), or lower"
        " renewal.due_after in the policy.",
    ),
    entry(
        "cert.unmanaged",
        WARN,
        meaning="nginx or Traefik serves a certificate that nobody looks after.",
        cause="The certificate is missing from the agent's configuration.",
        action="Add a `certificate` section for it.",
        explanation="{server} serves {file} for [names?{names}][!names?any name], and nobody looks after it"
        "[until?; it expires {until}].",
        fix="Add a `certificate` section for it; with `manage = false` where something else renews it.",
    ),
    entry(
        "cert.two_owners",
        ERROR,
        meaning="Another agent already looks after this certificate.",
        cause="Two configurations on the node contain the same certificate.",
        action="Remove it from one configuration.",
        explanation="{holder} already looks after {certificate}; this one leaves it alone until that one ends.",
        fix="Remove {certificate} from one of the two configurations, or set `manage = false` there.",
    ),
    entry(
        "cert.reissue_loop",
        ERROR,
        meaning="Something renews the certificate again and again.",
        cause="Two clients replace each other's certificate, or the new one is never served.",
        action="Find out what else renews it.",
        explanation="{certificate} was issued {count} times anew within {span}, although each certificate lives for"
        " {lifetime}:"
        " something renews it again and again.",
        fix="Find out what else renews it, and whether what is issued is what is served.",
        sample={"span": "0:20:00", "lifetime": "1 day, 0:00:00"},
    ),
    entry(
        "traefik.renews_too_late",
        ERROR,
        meaning="A certificate resolver of Traefik assumes that a private CA's certificates live for 90 days.",
        cause="`certificatesDuration` is not set.",
        action="Set `certificatesDuration`.",
        explanation="Traefik's resolver {resolver} uses {server} but was not told how long that CA's certificates"
        " live: it"
        " assumes 90 days, checks once a day, and lets shorter ones expire.",
        fix="Add `certificatesDuration: 24` (hours) to certificatesResolvers.{resolver}.acme; restart Traefik.",
        sample={"server": "step-ca.internal.thinkheads.ai"},
    ),
    entry(
        "agent.silent",
        ERROR,
        meaning="The agent has not been heard for five minutes; one incident if it is most of them.",
        cause="The container or the agent is stopped, or the network is down.",
        action="Check its unit, its container, its route to the collector.",
        explanation="{node} has not been heard since {since}: nobody looks after its certificates.",
        fix="On {node}: systemctl status certagent-agent; check that the container runs and reaches the collector.",
        variants={
            "most": (
                "{count} of {total} agents have not been heard since {since}.",
                "Check what they have in common: the network, the collector's address or certificate, their host.",
            )
        },
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
        "agent.collector_gone",
        WARN,
        meaning="The collector has accepted nothing from this agent for five minutes.",
        cause="The collector is down, unreachable, or refuses the token.",
        action="Check its unit, the route to it, the token.",
        explanation="The collector at {url} has accepted nothing from {reporter} since {since}: {said}.",
        fix="On the collector's node: systemctl status certagent-collector; from here: its name, its port, the token.",
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
        explanation="{count} reports are waiting on {reporter} for the collector; they are delivered when it is back.",
        fix="Fix the route to the collector; the reports follow by themselves.",
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
        meaning="Files are compared once a second, because inotify is unavailable.",
        cause="The host's limit of inotify instances or watches is reached.",
        action="Raise `fs.inotify.max_user_instances` on the host.",
        explanation="Changes of files are found by comparing them once a second: {said}.",
        fix="On the host, raise fs.inotify.max_user_instances, or max_user_watches where the reason says so.",
    ),
    entry(
        "channel.refused_question",
        WARN,
        meaning="The collector asked for something that agents do not do.",
        cause="The collector is newer than the agent.",
        action="Check the versions.",
        explanation="The collector asked for something that this agent does not do: {said}",
        fix="Check whether the collector is newer than this agent, or not what it seems.",
    ),
)
