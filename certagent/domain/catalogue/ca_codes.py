"""The catalogue: the CA itself, as a client reaches it and as its own process is configured. Data only."""

from certagent.domain.catalogue.entry import Trait, entry
from certagent.domain.findings import Severity

FATAL, ERROR, WARN, INFO = Severity

_TRUSTS_ONLY = (
    "{node} trusts only {roots_trusted} ({file}), and the CA also has {roots_missing}: once certificates are issued"
    " under that,"
)
_ADD_ROOT = (
    "Compare the fingerprint on the CA's node. Only if it is the same, put that root into a file of its own, add it to"
    " {} beside {{file}}, and restart the agent."
)
_UNUSABLE = Trait.NODE_WIDE | Trait.CA_UNUSABLE | Trait.OWN_INABILITY | Trait.BLOCKS_RENEWAL
_REFUSES = Trait.NODE_WIDE | Trait.BLOCKS_ORDER
_CANNOT_USE = "{reporter} cannot use the CA at {url}, which leads to {place}: {error}."
_LAST_WORDS = "[said? The CA's journal ends with: {said}][reason? The CA's journal has no error to quote: {reason}.]"
_START = "Start the CA, or fix the route to it; every order waits for this."
_CHANGE = "Change line {line} of {file} on {node}, and restart the CA."


ENTRIES = (
    entry(
        "ca.unreachable",
        FATAL,
        meaning="The CA is unreachable from this node.",
        cause="The CA is stopped, its name does not resolve here, or a packet filter is in the way.",
        action="Start the CA, or fix the route to it.",
        traits=_UNUSABLE,
        explanation=_CANNOT_USE + _LAST_WORDS,
        fix=_START,
    ),
    entry(
        "ca.untrusted",
        FATAL,
        meaning="The CA's certificate does not chain to the pinned root.",
        cause="Another server answers at that address.",
        action="Check who answers there.",
        traits=_UNUSABLE,
        explanation=_CANNOT_USE,
        fix="Check which server answers at {place}; do not trust it unchecked.",
    ),
    entry(
        "ca.name_mismatch",
        FATAL,
        meaning="The CA's certificate is for another name.",
        cause="The name in the directory's URL is missing from `dnsNames` in ca.json.",
        action="Add the name to `dnsNames` in ca.json.",
        traits=_UNUSABLE,
        explanation=_CANNOT_USE,
        fix="Add the name to `dnsNames` in the CA's ca.json, and restart the CA.",
    ),
    entry(
        "ca.root_changed",
        FATAL,
        meaning="The CA has another root certificate than the pinned one.",
        cause="The CA was initialized again, or another CA answers.",
        action="Find out why; never accept a new root unchecked.",
        traits=_UNUSABLE,
        explanation=_CANNOT_USE,
        fix="Find out why the root changed. Only if it is intended: install the new root on this node"
        " (authority.root).",
    ),
    entry(
        "ca.root_missing",
        WARN,
        meaning="The CA has a root that is not trusted everywhere on this node.",
        cause="The root is being changed, and this place still has only the old one.",
        action="Compare the fingerprint, and add the new root beside the old one before the CA issues under it.",
        traits=Trait.NONE,
        variants={
            "authority": (
                f"For the CA (authority.root), {_TRUSTS_ONLY} [names?orders and proofs of {{names}} fail]"
                "[!names?the CA is not trusted] here.",
                _ADD_ROOT.format("authority.root"),
            ),
            "collector": (
                f"For the collector (collector.root), {_TRUSTS_ONLY} the collector is not trusted here, and nothing is"
                " reported.",
                _ADD_ROOT.format("collector.root"),
            ),
            "nodes": (
                "The CA has {roots_missing}, which {names} do not trust: once certificates are issued under that, "
                "those nodes can neither order nor prove.",
                "Add that root to authority.root on {names}; on each of them, certagent check says more.",
            ),
            "certificate": (
                f"For the certificate {{certificate}} (its `root`), {_TRUSTS_ONLY} its proof fails here.",
                "Compare the fingerprint on the CA's node. Only if it is the same, add that root to {file}; it may "
                "contain both.",
            ),
        },
        sample={"roots_trusted": ["9f2c41"], "roots_missing": ["41d07e"]},
    ),
    entry(
        "ca.leaf_expired",
        FATAL,
        meaning="The CA's own certificate has expired.",
        cause="The CA renews it by itself while it runs; its clock or its intermediate is wrong.",
        action="Restart the CA.",
        traits=_UNUSABLE,
        explanation=_CANNOT_USE,
        fix="[file?Give the CA a new intermediate certificate ({file} on {node}), and restart it.]"
        "[!file?Restart the CA; if that does not help, check its clock and its intermediate.]",
    ),
    entry(
        "ca.directory_missing",
        FATAL,
        meaning="There is no ACME directory at the configured URL.",
        cause="The URL names a provisioner that the CA does not have.",
        action="Correct the provisioner's name in `authority.directory`.",
        traits=_UNUSABLE,
        explanation=_CANNOT_USE,
        fix="Compare authority.directory with the names of the CA's ACME provisioners.",
    ),
    entry(
        "ca.provisioner_missing",
        FATAL,
        meaning="The CA has no ACME provisioner of that name.",
        cause="The provisioner was renamed or removed in ca.json.",
        action="Add it to ca.json, and restart the CA.",
        traits=_REFUSES,
        explanation="The CA on {node} has no ACME provisioner with the name at the end of the directory's URL (line "
        "{line} of {file}): it refuses every such order.",
        fix=_CHANGE,
        sample={"file": "/etc/step-ca/ca.json"},
    ),
    entry(
        "ca.unhealthy",
        FATAL,
        meaning="The CA answers, but reports that it is failing.",
        cause="Its database or its key is unavailable.",
        action="Check the CA's journal and its database.",
        traits=_UNUSABLE,
        explanation=_CANNOT_USE + _LAST_WORDS,
        fix="Check the CA's journal and its database; every order waits for this.",
    ),
    entry(
        "ca.uses_proxy",
        ERROR,
        meaning="The CA fetches challenges through a proxy.",
        cause="HTTP_PROXY or HTTPS_PROXY is set in the CA's environment.",
        action="Set NO_PROXY in the CA's unit.",
        traits=Trait.NODE_WIDE | Trait.PATH,
        explanation="The CA fetches challenges through the proxy {proxy}.",
        fix="Remove HTTP_PROXY from the CA's environment, or add the fleet's zones to NO_PROXY.",
        variants={
            "redirect": (
                "The CA follows the redirect to {location} through the proxy in its HTTPS_PROXY.",
                "Remove HTTPS_PROXY from the CA's environment, or add the fleet's zones to NO_PROXY.",
            )
        },
    ),
    entry(
        "ca.port_override",
        ERROR,
        meaning="The CA validates challenges on a port other than 80 and 443.",
        cause="A flag is set on the CA's command line.",
        action="Remove the flag from the CA's unit.",
        traits=Trait.NODE_WIDE | Trait.PATH,
        explanation="The CA was started with {flag}.",
        fix="Remove {flag} from the CA's command line, unless it is intended.",
        sample={"flag": "--acme-http-port=8080"},
    ),
    entry(
        "ca.strict_fqdn",
        INFO,
        meaning="The CA appends a final dot to names before it resolves them.",
        cause="A flag is set on the CA's command line.",
        action="Nothing, if it is intended.",
        explanation="The CA was started with {flag}.",
        fix="Remove {flag} from the CA's command line, unless it is intended.",
        sample={"flag": "--acme-strict-fqdn"},
    ),
    entry(
        "ca.challenge_not_offered",
        FATAL,
        meaning="The CA does not offer the configured challenge type.",
        cause="The provisioner's `challenges` in ca.json exclude it.",
        action="Change ca.json, or use another challenge.",
        traits=_REFUSES,
        explanation="The CA on {node} offers {offered}, but {challenge} is configured for {identifier} (line {line} of"
        " {file}): it refuses every such order.",
        fix=_CHANGE,
        sample={"offered": ["dns-01"], "file": "/etc/step-ca/ca.json"},
    ),
    entry(
        "ca.eab_required",
        FATAL,
        meaning="The CA requires external account binding.",
        cause="The provisioner has `requireEAB` set, and no key is configured here.",
        action="Configure a binding key, or change the provisioner.",
    ),
    entry(
        "ca.account_unknown",
        FATAL,
        meaning="The CA does not know the account, even after it was registered again.",
        cause="The CA's database does not keep accounts.",
        action="Check the CA's database.",
    ),
    entry(
        "ca.policy_denies",
        FATAL,
        meaning="The CA's policy denies the name.",
        cause="The policy in ca.json does not allow the name, or denies it.",
        action="Change the policy in ca.json.",
        traits=_REFUSES,
        explanation="The policy of the CA on {node} does not allow {identifier} (line {line} of {file}): it refuses"
        " every such"
        " order.",
        fix=_CHANGE,
        sample={"file": "/etc/step-ca/ca.json"},
    ),
    entry(
        "ca.lifetime_denied",
        FATAL,
        meaning="The CA does not issue certificates with that lifetime.",
        cause="The certificate's `lifetime` is outside the provisioner's claims.",
        action="Change `lifetime`, or the provisioner's claims.",
    ),
    entry(
        "ca.clock_skew",
        ERROR,
        meaning="This node's clock and the CA's clock differ by more than a minute.",
        cause="Time synchronization is off on one of them.",
        action="Correct the wrong clock.",
        explanation="The clocks of {reporter} and of the CA at {place} differ by {seconds} s; [is_ahead?the CA]"
        "[!is_ahead?{reporter}] is ahead. Certificates may be not yet valid, or already expired.",
        fix="Find out which clock is wrong (timedatectl), and correct it.",
    ),
    entry(
        "ca.circular",
        FATAL,
        meaning="The CA is reached through the node that needs the certificate.",
        cause="The CA's name leads to the gateway that this certificate is for.",
        action="Make the CA's name lead straight to the CA.",
        explanation="{reporter} reaches the CA by name through itself ({address}), and needs a certificate of that CA"
        " to serve:"
        " once it has expired, neither can start without the other.",
        fix="Make the CA's name lead straight to the CA's node here.",
    ),
    entry(
        "ca.name_leads_elsewhere",
        WARN,
        meaning="The CA is reached only by its configured address; its name does not lead to it.",
        cause="The CA's name is wrong in DNS or in this node's hosts file.",
        action="Correct the CA's name on this node.",
        explanation="{reporter} reaches the CA only by its configured address; by name: {error}.",
        fix="Correct the CA's name on this node (hosts file, nameserver).",
        variants={
            "no_nameserver": (
                "{reporter} reaches the CA only by its configured address; by name: no nameserver answers (asked:"
                " {asked}).",
                "Correct the CA's name on this node (hosts file, nameserver).",
            )
        },
    ),
    entry(
        "ca.vantage_missing",
        WARN,
        meaning="No agent next to the CA answers, so the challenge's path is unverified.",
        cause="The agent on the CA's node or the collector is down, or none is configured.",
        action="Start the agent there.",
        explanation="No agent next to the CA could run the check ([reason?{reason}][!reason?no collector is"
        " configured]), so it"
        " is unverified whether the challenge reaches this node.",
        fix="Run an agent with a token of the role `authority` next to the CA, and a collector that both reach.",
        sample={"reason": "no agent is connected that has the role authority"},
    ),
    entry(
        "ca.not_step_ca",
        INFO,
        meaning="The CA is not Step-CA: orders work, but some other features of certagent do not.",
        cause="The directory belongs to another ACME CA, or a proxy passes on only its ACME paths.",
        action="Nothing; but a certificate whose challenge is blocked cannot be kept valid by mTLS renewal.",
        explanation="The CA at {url} does not answer as Step-CA does. Orders work as with any ACME CA (RFC 8555). Only"
        " with Step-CA: renewal by mTLS while a challenge's path is blocked, the replay of the CA's resolver and"
        " journal, its ca.json, and new roots.",
        fix="Nothing has to be changed. If it is Step-CA behind a proxy, have the proxy pass on /roots.pem and /1.0/ as"
        " well.",
        sample={"url": "https://acme.example/directory"},
    ),
)
