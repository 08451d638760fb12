"""The catalogue: the web servers' files, certificates on disk and as served. Data only."""

from certagent.domain.catalogue.entry import Trait, entry
from certagent.domain.findings import Severity

FATAL, ERROR, WARN, INFO = Severity

_BLOCKS = Trait.OWN_INABILITY | Trait.BLOCKS_RENEWAL
_WHY = "[trouble? ({trouble}: {said})]"
_LISTENER = "[process? {process} listens there.]"
_STATE = (
    "The agent's state cannot be written ({said}), so {certificate} was left unchanged.",
    "Free space on its file system, or make it writable; certagent tries again by itself.",
)
_SPOT = "({spot} on {node})."
_DEFINE = "Define it, or remove it from {spot} on {node}."
_COMMAND = "{command} [status?ended with {status}][!status?did not finish within {seconds} s]: {said}"
_NO_START = "{command} cannot be started ({said})."
_AGAIN = "certagent tries again by itself."


def _endpoint(clause: str, fix: str) -> dict[str, tuple[str, str | None]]:
    """As seen after a deployment, and as the drift check sees it."""
    return {
        "deployed": (
            f"{{target}}: {{endpoint}} {clause} for {{server_name}}{_WHY}.{_LISTENER}",
            f"{fix}, or correct `prove`; {_AGAIN}",
        ),
        "drift": (f"{{endpoint}} {clause} for {{server_name}}{_WHY}.", f"{fix}."),
    }


ENTRIES = (
    entry(
        "config.unreadable",
        WARN,
        meaning="A configuration file that the agent reads cannot be read, wholly or in part.",
        cause="It was saved half, has a mistake in it, or something else is in its place.",
        action="Correct the line.",
        explanation="{file} on {node} cannot be read[line?, at line {line}]: {reason}[count?; other places in it"
        " that cannot be read: {count}]. What it says there is left out of everything that certagent concludes.",
        fix="Correct {spot} on {node}; the program that it belongs to may refuse it as well.",
        variants={
            "pattern": (
                "The pattern in {file}, line {line}, on {node} cannot be followed: {reason}. Which server or location"
                " takes a challenge is not known for that reason.",
                "Simplify the pattern in {file}, line {line}, on {node}: nested repetitions, such as (a+)+, make nginx"
                " itself give up.",
            )
        },
        sample={"file": "/etc/traefik/dynamic/apps.yml", "reason": "a router is no table", "count": None},
    ),
    entry(
        "deploy.dangling_reference",
        ERROR,
        meaning="The web server's configuration names something that does not exist.",
        cause="A file was moved, or a part of the configuration was removed.",
        action="Define it, or remove the reference.",
        variants={
            "router": (f"The router {{router}} names the {{part}} {{name}}, which is not defined {_SPOT}", _DEFINE),
            "file": (f"nginx should read {{target}} ({{word}}), which does not exist {_SPOT}", _DEFINE),
            "include": (f"nginx should include {{target}}, which does not exist {_SPOT}", _DEFINE),
            "link": ("{file} on {node} is a link whose target does not exist.", _DEFINE),
        },
        sample={"target": "/etc/nginx/ssl/old.crt", "name": "acme"},
    ),
    entry(
        "deploy.rolled_back",
        ERROR,
        meaning="The new certificate was not served, so the old one was restored.",
        cause="The service did not load the new pair.",
        action="See the findings next to it.",
        explanation="{target}: the previous pair was restored, "
        "[!checked?but nothing could be checked to prove it][proven?and is served again]"
        "[unproven?but is not seen to be served either].",
        fix="Fix what the findings next to this one name; certagent deploys the same certificate again by itself.",
        sample={"checked": True, "proven": True},
    ),
    entry(
        "deploy.served_old",
        ERROR,
        meaning="An address still serves the old certificate.",
        cause="The service did not reload, or another one listens there.",
        action="Reload what listens there.",
        variants={
            "deployed": (
                f"{{target}}: {{endpoint}} still serves another certificate for {{server_name}}{_WHY}.{_LISTENER}",
                "Make what listens on {endpoint} load this pair (its reload command, the files that it names), or"
                f" correct `prove`; {_AGAIN}",
            ),
            "rivals": (
                "{target}: Traefik has loaded the new certificate and {count} more for the same name, and chose one"
                " of those.",
                "Remove the other certificate from Traefik's dynamic configuration.",
            ),
        },
    ),
    entry(
        "deploy.default_certificate",
        ERROR,
        meaning="The service serves its default certificate, which no client trusts.",
        cause="It could not load the pair.",
        action="Find out why it dropped the pair.",
        variants=_endpoint(
            "serves its default certificate, which no client trusts,",
            "Check the service's log for the pair that it could not load",
        ),
    ),
    entry(
        "deploy.unwritable",
        FATAL,
        meaning="The target's files, or the agent's own state, cannot be written.",
        cause="Owner, mode or mount do not allow it.",
        action="Check owner, mode and mount.",
        traits=_BLOCKS,
        explanation="{target} cannot be written[file? ({file})]: {said}.",
        fix=f"Give the agent's user write access there (owner, mode, `ReadWritePaths=` of its unit); {_AGAIN}",
        variants={
            "read_only": (
                "{target} cannot be written[file? ({file})]: {said}.",
                "Mount that file system for writing, or deploy to another folder.",
            ),
            "no_folder": (
                "{target} cannot be written[file? ({file})]: {said}.",
                "Create the folder, or name another one.",
            ),
            "state": _STATE,
            "record": (
                "{reporter} cannot write the record {record} for {identifier}: it could not be saved that it has to"
                " be removed"
                " again ({said}).",
                "Free space on the file system of the agent's state, or make it writable; certagent tries again by"
                " itself.",
            ),
        },
        sample={"said": "Permission denied"},
    ),
    entry(
        "deploy.foreign_folder",
        ERROR,
        meaning="The target lies in the live folder of another ACME client.",
        cause="That client still owns the pair; certagent would break its renewals, or be overwritten by them.",
        action="Deploy to a folder of its own, or set `manage = false`.",
        traits=_BLOCKS,
        explanation="{target} is not written: {file} belongs to {owner} (see {evidence}).",
        fix="Set `manage = false` to only watch it. To take it over: end {owner}'s renewal, have the service read the"
        " pair from a folder of its own, and name that folder in the target.",
        sample={"owner": "certbot", "evidence": "/etc/letsencrypt/live"},
    ),
    entry(
        "deploy.unmapped_owner",
        FATAL,
        meaning="The file's owner lies outside the container's id map.",
        cause="The file was created on the host, or the configured owner does not exist here.",
        action="`chown` it on the host.",
        traits=_BLOCKS,
        explanation="{target}: {file} belongs to nobody here, because its owner on the host lies outside this"
        " container's id"
        " map; not even root may change it.",
        fix="On the host, give it to the container's root: chown 100000:100000, with the usual map.",
        variants={
            "unknown": (
                "{target}: {said}.",
                "Create the user or the group, or name another one in `owner`, `group` or `reader`.",
            ),
            "outside_map": (
                "{target}: the configured owner has an id that this container's id map does not contain.",
                "Name a user and a group whose ids are below 65536.",
            ),
        },
    ),
    entry(
        "deploy.disk_full",
        ERROR,
        meaning="The disk is full.",
        cause="Logs or images fill the file system.",
        action="Free space.",
        explanation="{target} cannot be written[file? ({file})]: {said}.",
        fix="Free space on that file system; certagent tries again by itself.",
        variants={
            "quota": (
                "{target} cannot be written[file? ({file})]: {said}.",
                "Free space within the quota; certagent tries again by itself.",
            ),
            "state": _STATE,
        },
        sample={"said": "No space left on device"},
    ),
    entry(
        "deploy.reload_failed",
        ERROR,
        meaning="The service could not be reloaded.",
        cause="The service is stopped, or its configuration is broken.",
        action="Check its journal.",
        explanation=f"The reload failed: {_COMMAND}",
        fix=f"Fix what the message names, or name another `command`; {_AGAIN}",
        variants={
            "not_started": (
                f"The reload failed: {_NO_START}",
                f"Install that program, or name another `command`; {_AGAIN}",
            ),
            "no_master": (
                "{target}: nginx was not told to reload: {file} {said}.",
                "Restart nginx, which writes its number there; certagent tries again by itself.",
            ),
            "unknown_user": ("{target}: {said}.", f"Create that user, or name another `user`; {_AGAIN}"),
        },
    ),
    entry(
        "deploy.unproven",
        WARN,
        meaning="What an address serves cannot be proven.",
        cause="It expects the PROXY protocol, and `prove` does not say so.",
        action="Set `proxy_protocol` for that address in `prove`.",
        explanation="{target}: what {endpoint} serves is unproven: nginx expects the PROXY protocol there ({spot}).",
        fix="In `prove`, write {endpoint} as a table, with `address` and `proxy_protocol = true`.",
    ),
    entry(
        "deploy.not_served",
        ERROR,
        meaning="Nothing is served at the configured address.",
        cause="The service is stopped, or a packet filter is in the way.",
        action="Start the service.",
        variants={
            "deployed": (
                f"{{target}}: {{endpoint}} does not complete a handshake for {{server_name}}{_WHY}.{_LISTENER}",
                f"Check whether the service runs, and who may reach it, or correct `prove`; {_AGAIN}",
            ),
            "drift": (
                f"{{endpoint}} serves nothing for {{server_name}}{_WHY}.",
                "Check whether the service runs, and who may reach it.",
            ),
        },
    ),
    entry(
        "deploy.validate_failed",
        ERROR,
        meaning="The service rejects its configuration.",
        cause="The configuration, or a file that it names, is broken.",
        action="Read its message.",
        explanation=f"nginx rejects its configuration: {_COMMAND}",
        fix=f"Fix what nginx names; {_AGAIN}",
        variants={
            "not_started": (
                f"nginx could not check its configuration: {_NO_START}",
                f"Put nginx's program on the agent's PATH; {_AGAIN}",
            )
        },
    ),
    entry(
        "deploy.drift",
        ERROR,
        meaning="What is served or on disk is no longer what was proven.",
        cause="Another program writes the pair, or the service was restarted with another one.",
        action="Find out what writes there; `certagent renew NAME --force`.",
        explanation="{file} [on_disk?contains another certificate than][!on_disk?contains no certificate any more,"
        " but] the one"
        " that was proven to be served for {certificate}[changed_at?; it was changed at {changed_at} and belongs to"
        " {owner}].",
        fix="Find out what else writes {file}; then run `certagent renew {certificate} --force`.",
        variants={
            "served": (
                f"{{endpoint}} serves another certificate than the one on disk for {{server_name}}{_WHY}.",
                "Reload the service, and check what else listens there.",
            )
        },
    ),
    entry(
        "deploy.world_readable",
        WARN,
        meaning="Everybody on the node can read the live key.",
        cause="The file's mode is too permissive.",
        action="`chmod o=`, and give the service a group of its own.",
        explanation="Everybody on this node can read the key {file}.",
        fix="chmod o= {file}, and give the service a group of its own.",
    ),
    entry(
        "deploy.reload_no_effect",
        ERROR,
        meaning="nginx was told to reload, but kept its old workers.",
        cause="nginx could not apply the new configuration.",
        action="Read its error log.",
        explanation="{target}: nginx was told to reload, but [workers?kept its old workers (processes {workers})]"
        "[!workers?is no longer running]: what is on disk was not loaded.[said? Its error log says: {said}]",
        fix="Fix what the error log names, or restart nginx; certagent tries the deployment again by itself.",
    ),
    entry(
        "deploy.traefik_not_loaded",
        ERROR,
        meaning="Traefik's API does not know the new certificate.",
        cause="Traefik watches another folder, or does not watch at all.",
        action="Check the folder that it watches.",
        explanation="{target}: Traefik has not loaded the certificate that this file names; its API lists {count}"
        " others. It"
        " watches another folder, does not watch, or cannot read the pair.",
        fix="In Traefik's static configuration: providers.file.directory = {folder}, watch = true; else check"
        " Traefik's log.",
    ),
    entry(
        "deploy.unreadable_by_service",
        ERROR,
        meaning="The service's user cannot read the key.",
        cause="The key's group, or a folder above it, excludes that user.",
        action="Check `group` and the folders above.",
        explanation="{target}: the user {user} of the service cannot read {file}[reason?: {reason}].",
        fix="Set `group` to one that {user} is in, let {user} enter the folders above, or correct `reader`.",
        variants={
            "logged": (
                "{target}: nginx could not load the pair for a handshake; its error log says: {said}",
                f"Let nginx's user read {{file}} (`owner`, `group`, `mode`), or name it in `reader`; {_AGAIN}",
            )
        },
    ),
)
