"""The catalogue: the web servers' files, certificates on disk and as served. Data only."""

from certagent.domain.catalogue.entry import Trait, entry
from certagent.domain.findings import Severity

FATAL, ERROR, WARN, INFO = Severity

_WHY = "[trouble? ({trouble}: {said})]"
_LISTENER = "[process? {process} listens there.]"
_SPOT = "({spot} on {node})."
_DEFINE = "Define it, or remove it from {spot} on {node}."
_COMMAND = "{command} [status?exited with status {status}][!status?did not finish within {seconds} s]: {said}"
_NO_START = "{command} cannot be started ({said})."
_AGAIN = "certagent retries automatically."


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
        meaning="A configuration file cannot be read, or only partly.",
        cause="It was only half saved, contains a mistake, or is not a configuration file.",
        action="Correct the line.",
        explanation="{file} on {node} cannot be read[line?, at line {line}]: {reason}[count?; other places in it that "
        "cannot be read: {count}]. certagent ignores what is written there.",
        fix="Correct {spot} on {node}; the program that uses it may reject it as well.",
        variants={
            "pattern": (
                "The pattern in {file}, line {line}, on {node} cannot be evaluated: {reason}. So it is unknown which "
                "server or location receives a challenge.",
                "Simplify the pattern in {file}, line {line}, on {node}: nested repetitions, such as (a+)+, make nginx"
                " itself give up.",
            ),
            "long": (
                "{file} on {node}: {reason}. What follows was not checked.",
                "Check the rest yourself, or move a long list of names out of {file} on {node}, to the nameserver.",
            ),
            "source": (
                "{file}[line?, line {line},] cannot be evaluated: {reason}. What else it would write is unknown.",
                "Correct {file}, or exclude it from the tree that is checked.",
            ),
        },
        sample={"file": "/etc/traefik/dynamic/apps.yml", "reason": "a router is not a table", "count": None},
    ),
    entry(
        "deploy.dangling_reference",
        ERROR,
        meaning="The web server's configuration names something that does not exist.",
        cause="A file was moved, or a part of the configuration was removed.",
        action="Define it, or remove the reference.",
        traits=Trait.EXPLAINS_ANSWER,
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
        traits=Trait.CONSEQUENCE,
        explanation="{target}: the previous pair was restored, [!checked?but no address could be checked to prove "
        "it][proven?and is served again][unproven?but it is not served either].",
        fix=(
            "Fix what the findings next to this one name; certagent then deploys the same certificate again "
            "automatically."
        ),
        sample={"checked": True, "proven": True},
    ),
    entry(
        "deploy.served_old",
        ERROR,
        meaning="An address still serves the old certificate.",
        cause="The service did not reload, or another one listens there.",
        action="Reload the service that listens there.",
        variants={
            "deployed": (
                f"{{target}}: {{endpoint}} still serves another certificate for {{server_name}}{_WHY}.{_LISTENER}",
                "Make the service that listens on {endpoint} load this pair (check its reload command and the "
                f"files that it names), or correct `prove`; {_AGAIN}",
            ),
            "rivals": (
                "{target}: Traefik has loaded the new certificate and {count} more for the same name, and chose one"
                " of those.",
                "Remove the other certificate from Traefik's dynamic configuration.",
            ),
            "not_named": (
                "{target}: no `crt` in {file} names this file or its folder, so HAProxy does not load it.",
                f"In {{file}}, name {{pem}} or its folder as `crt` of the `bind` line; {_AGAIN}",
            ),
        },
    ),
    entry(
        "deploy.default_certificate",
        ERROR,
        meaning="The service serves its default certificate, which no client trusts.",
        cause="It could not load the pair.",
        action="Find out why it rejected the pair.",
        variants=_endpoint(
            "serves its default certificate, which no client trusts,",
            "Check the service's log for the pair that it could not load",
        ),
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
                "Restart nginx, which writes its process ID there; certagent retries automatically.",
            ),
            "no_haproxy": (
                "{target}: no HAProxy in master-worker mode runs with {file}, so none was reloaded.",
                f"Start HAProxy with that file and -W or -Ws, or correct `configuration`; {_AGAIN}",
            ),
            "runtime_api": (
                "{target}: HAProxy's runtime API at {file} rejected the certificate: {said}",
                "Give that socket `level admin` in HAProxy's configuration, have HAProxy load {pem} when it"
                f" starts, or remove `socket`, so that HAProxy is reloaded instead; {_AGAIN}",
            ),
            "unknown_user": ("{target}: {said}.", f"Create that user, or name another `user`; {_AGAIN}"),
        },
    ),
    entry(
        "deploy.unproven",
        WARN,
        meaning="It cannot be proven what an address serves.",
        cause="It expects the PROXY protocol, or begins TLS by STARTTLS, and `prove` does not say so.",
        action="Set `proxy_protocol` or `starttls` for that address in `prove`.",
        explanation="{target}: what {endpoint} serves is unproven: nginx expects the PROXY protocol there ({spot}).",
        fix="In `prove`, write {endpoint} as a table, with `address` and `proxy_protocol = true`.",
        variants={
            "haproxy": (
                "{target}: what {endpoint} serves is unproven: HAProxy expects the PROXY protocol there ({spot}).",
                "In `prove`, write {endpoint} as a table, with `address` and `proxy_protocol = true`.",
            ),
            "starttls": (
                "{target}: what {endpoint} serves is unproven: connections to that port usually begin without TLS,"
                " and `prove` does not set the protocol that starts it.",
                'In `prove`, write {endpoint} as a table, with `address` and `starttls = "{option}"`.',
            ),
        },
        sample={"option": "smtp"},
    ),
    entry(
        "deploy.not_served",
        ERROR,
        meaning="Nothing is served at the configured address.",
        cause="The service is stopped, or a packet filter is in the way.",
        action="Start the service.",
        traits=Trait.DEAD_PORT,
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
            ),
            "haproxy": (f"HAProxy rejects its configuration: {_COMMAND}", f"Fix what HAProxy names; {_AGAIN}"),
            "haproxy_not_started": (
                f"HAProxy could not check its configuration: {_NO_START}",
                f"Put HAProxy's program on the agent's PATH; {_AGAIN}",
            ),
        },
    ),
    entry(
        "deploy.drift",
        ERROR,
        meaning="What is served or on disk is no longer what was proven.",
        cause="Another program writes the pair, or the service was restarted with another one.",
        action="Find out what writes there; `certagent renew NAME --force`.",
        explanation="{file} [on_disk?contains a certificate other than][!on_disk?no longer contains a "
        "certificate, but] "
        "the one that was proven to be served for {certificate}[changed_at?; it was changed at {changed_at} "
        "and belongs to {owner}].",
        fix="Find out what else writes {file}; then run `certagent renew {certificate} --force`.",
        variants={
            "served": (
                f"{{endpoint}} serves a certificate other than the one on disk for {{server_name}}{_WHY}.",
                "Reload the service, and check what else listens there.",
            )
        },
    ),
    entry(
        "deploy.world_readable",
        WARN,
        meaning="Everybody on the node can read the live key.",
        cause="The file's mode is too permissive.",
        action="`chmod o=`, and give the service its own group.",
        explanation="Everybody on this node can read the key {file}.",
        fix="chmod o= {file}, and give the service its own group.",
    ),
    entry(
        "deploy.reload_no_effect",
        ERROR,
        meaning="nginx or HAProxy was told to reload, but kept its old workers.",
        cause="It could not apply the new configuration.",
        action="Read its error log.",
        explanation="{target}: nginx was told to reload, but [workers?kept its old workers (processes {workers})]"
        "[!workers?is no longer running]: the files on disk were not loaded.[said? Its error log says: {said}]",
        fix="Fix what the error log names, or restart nginx; certagent then retries the deployment automatically.",
        variants={
            "haproxy": (
                "{target}: HAProxy was told to reload, but kept its old worker[workers? (process {workers})]: the"
                " files on disk were not loaded.",
                "Check HAProxy's log (journalctl -u haproxy), or restart HAProxy; certagent then retries the deployment"
                " automatically.",
            )
        },
    ),
    entry(
        "deploy.traefik_not_loaded",
        ERROR,
        meaning="Traefik's API does not know the new certificate.",
        cause="Traefik watches another folder, or does not watch at all; it watches a folder that was deleted and "
        "recreated only after a restart.",
        action="Check the folder that it watches; if that was recreated, restart Traefik.",
        explanation="{target}: Traefik has not loaded the certificate that this file names; its API lists {count}"
        " others. It"
        " watches another folder, does not watch, or cannot read the pair.",
        fix="In Traefik's static configuration: providers.file.directory = {folder}, watch = true. If the folder "
        "was recreated since Traefik started, restart Traefik; otherwise check Traefik's log.",
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
