"""The catalogue: the challenge's path, that is the network and http-01. Data only."""

from certagent.domain.catalogue.entry import Trait, entry
from certagent.domain.findings import Severity

FATAL, ERROR, WARN, INFO = Severity

_NOT_REACHED = "The CA cannot connect to {place} port {port} for {identifier}: {error}."
_REACH = (
    "Check from the CA's node why {address} port {port} does not answer: the service, its packet filter, the route"
    " back."
)
_LOCAL = (
    "The CA cannot connect to {place} port {port} for {identifier}: {looker} itself blocks packets to it.",
    "On {looker}, check the routes and the packet filter for packets to {address} port {port}.",
)
_NOT_OURS = "The CA asked {place} for {identifier} and did not get the token: {hops}."
_NO_REDIRECT = "Exclude /.well-known/acme-challenge/ from the redirect."
_ROUTE = "Check which route of the web server takes the challenge's path, and send it to the responder."
_SPOT = "({spot} on {node})."
_ENTRY_POINT = (
    "The CA asked {place} for {identifier} and did not get the token: {hops}. Traefik's entry point {entry_point}"
    f" redirects every request before any router can handle it {_SPOT}",
    "In entryPoints.{entry_point}.http.redirections.entryPoint set `priority: 1`, so that the challenge's router comes"
    " first, and restart Traefik.",
)
_SNIPPET = "Change {spot} on {node}: {snippet}."

ENTRIES = (
    entry(
        "net.refused",
        FATAL,
        meaning="Nothing listens where the CA connects.",
        cause="The web server or the responder is stopped, or listens on another address.",
        action="Start the service.",
        traits=Trait.PATH | Trait.DEAD_PORT,
        explanation=_NOT_REACHED,
        fix=_REACH,
        variants={"local": _LOCAL},
        sample={"error": "refused"},
    ),
    entry(
        "net.timeout",
        FATAL,
        meaning="The CA's packets get no answer.",
        cause="A packet filter drops them, on the way there or back.",
        action="Check the packet filters, in both directions.",
        traits=Trait.PATH | Trait.DEAD_PORT,
        explanation=_NOT_REACHED,
        fix=_REACH,
        variants={"local": _LOCAL},
        sample={"error": "timeout"},
    ),
    entry(
        "net.no_route",
        FATAL,
        meaning="The CA has no route to the address.",
        cause="The address belongs to another network, or a route is missing.",
        action="Check the route and the address.",
        traits=Trait.PATH | Trait.DEAD_PORT,
        explanation=_NOT_REACHED,
        fix=_REACH,
        variants={"local": _LOCAL},
        sample={"error": "no_route"},
    ),
    entry(
        "net.reset",
        FATAL,
        meaning="The connection is reset.",
        cause="Something between the CA and the node, or the service itself, resets the connection.",
        action="Check what is in between.",
        traits=Trait.PATH | Trait.DEAD_PORT,
        explanation=_NOT_REACHED,
        fix=_REACH,
        variants={"local": _LOCAL},
        sample={"error": "reset"},
    ),
    entry(
        "net.asymmetric",
        FATAL,
        meaning="This node reaches the CA, but the CA does not reach this node.",
        cause="A packet filter or a route allows one direction only.",
        action="Check the packet filters and routes of both.",
        traits=Trait.PATH | Trait.NODE_WIDE | Trait.EXPLAINS,
        explanation="{client} reaches the CA, but the CA does not reach {place} port {port}: something between them "
        "allows one direction only.",
        fix="Check the packet filters of {client} and of {looker}, and the routes of both.",
        variants={
            "fleet": (
                "{client} reaches the CA, and the CA on {looker} reaches {others}, but not {client} at {address}: "
                "something between the two allows one direction only.",
                "Check the packet filters of {client} and of {looker}, and the routes of both.",
            )
        },
    ),
    entry(
        "http01.responder_absent",
        FATAL,
        meaning="The agent's own responder does not answer.",
        cause="Its port is taken, or the web server that answers for it does not work.",
        action="Check its port and the agent's journal.",
        traits=Trait.OWN_INABILITY | Trait.DEAD_PORT | Trait.EXPLAINS_ANSWER,
        explanation="The responder on {listen} did not answer the planted token on {node} itself: "
        "[said?{said}][!said?it gave no reason].",
        fix="Check who listens on {listen}, and the agent's journal.",
        variants={
            "file": (
                "{file} on {node} does not answer the challenge: {said}.",
                "Check {file}: it must serve the challenge.",
            ),
            "unsafe_path": (
                "{file} on {node} is not used for the challenge: it is a link or was replaced, and users other than "
                "root can change {folder} (owner {owner}, mode {mode}).",
                "Name the folder that {file} leads to as `path` of the solver, or make that folder writable by root "
                "only: chown root {folder}; chmod go-w {folder}.",
            ),
        },
    ),
    entry(
        "http01.wrong_host",
        FATAL,
        meaning="Another machine answers the CA.",
        cause="A hosts line at the CA leads there.",
        action="Correct the name first.",
        explanation=_NOT_OURS,
        fix="Correct the name first: the machine that answered does not hold the token.",
    ),
    entry(
        "http01.not_found",
        FATAL,
        meaning="404: the challenge's path is not routed to the responder.",
        cause="The web server has no route for the challenge's path.",
        action="Add a route to the responder.",
        explanation=_NOT_OURS,
        fix="On the machine that answered, route /.well-known/acme-challenge/ to the responder.",
    ),
    entry(
        "http01.forbidden",
        FATAL,
        meaning="401 or 403: the web server requires a password, or denies access.",
        cause="An access rule covers the challenge's path.",
        action="Exclude the challenge's path from the rule.",
        explanation=_NOT_OURS,
        fix=_ROUTE,
    ),
    entry(
        "http01.server_error",
        FATAL,
        meaning="5xx: the web server cannot forward the challenge.",
        cause="Its upstream is down or wrong.",
        action="Check its upstream.",
        explanation=_NOT_OURS,
        fix=_ROUTE,
    ),
    entry(
        "http01.catchall",
        FATAL,
        meaning="200 with another page: the order would fail for good.",
        cause="A catch-all page answers the challenge's path.",
        action="Add a route that takes precedence over the catch-all.",
        explanation=_NOT_OURS,
        fix="Give /.well-known/acme-challenge/ a route of its own that takes precedence over the catch-all page.",
    ),
    entry(
        "http01.redirected",
        INFO,
        meaning="The challenge is redirected, and the last page serves the token.",
        cause="A redirect to https covers the challenge's path.",
        action="Nothing.",
        explanation="The challenge of {identifier} is redirected, and the last page serves the token: {hops}.",
    ),
    entry(
        "http01.redirect_loop",
        FATAL,
        meaning="The challenge is redirected endlessly.",
        cause="Two redirects lead to each other.",
        action="Exclude the challenge's path from the redirect.",
        explanation=_NOT_OURS,
        fix=_NO_REDIRECT,
        variants={"entry_point": _ENTRY_POINT},
    ),
    entry(
        "http01.redirect_offsite",
        ERROR,
        meaning="The challenge is redirected to a name that a rehearsal must not follow.",
        cause="The redirect leads to a name outside the allow-list.",
        action="Exclude the challenge's path from the redirect.",
        explanation=_NOT_OURS,
        fix=_NO_REDIRECT,
        variants={"entry_point": _ENTRY_POINT},
    ),
    entry(
        "http01.redirect_broken",
        FATAL,
        meaning="The challenge is redirected, and the last page does not serve the token.",
        cause="The redirect to https covers the challenge's path, which is served on port 80 only.",
        action="Exclude the challenge's path from the redirect.",
        explanation=_NOT_OURS,
        fix="Exclude /.well-known/acme-challenge/ from the redirect, or serve the token at its end.",
        variants={"entry_point": _ENTRY_POINT},
    ),
    entry(
        "http01.stale_connection",
        WARN,
        meaning="The CA still holds a connection to the wrong machine.",
        cause="The CA keeps connections alive across a change of address.",
        action="Wait (certagent does), or restart the CA.",
        explanation="The CA still holds a connection to {place}, although {identifier} does not lead there; it may"
        " validate over"
        " that connection until it closes.",
        fix="Wait until it closes (certagent does), or restart the CA.",
    ),
    entry(
        "http01.slow",
        WARN,
        meaning="The token takes more than ten seconds.",
        cause="The web server is overloaded, or waits for something.",
        action="Check what delays the answer.",
        explanation="The token of {identifier} took {seconds} s from {place}; the CA gives up after 30 s.",
        fix="Check what delays the answer on that machine.",
    ),
    entry(
        "http01.flaky",
        ERROR,
        meaning="Some rehearsals fail and others pass, although nothing was changed.",
        cause="Something is overloaded, restarts, or shares the address.",
        action="Check what restarts or is overloaded.",
        explanation="{failed} of the last {count} rehearsals of {identifier} failed ({trouble}) at {place}, and the"
        " others passed:"
        " the path is intermittent.",
        fix="Check what is overloaded, restarts, or shares that address.",
    ),
    entry(
        "http01.tls_on_80",
        FATAL,
        meaning="Port 80 speaks TLS.",
        cause="The listener on port 80 is configured for TLS.",
        action="Correct the listener on port 80.",
        traits=Trait.PATH | Trait.DEAD_PORT,
        explanation="The service at {place} port {port} does not speak plain HTTP ({said}).",
        fix="Port 80 must speak plain HTTP: check the listener's TLS configuration.",
        variants={"configured": (f"Port {{port}} is configured for TLS {_SPOT}", _SNIPPET)},
    ),
    entry(
        "http01.wrong_entrypoint",
        FATAL,
        meaning="Traefik's router for the challenge is not on the entry point of port 80.",
        cause="The router names the wrong entry point.",
        action="`entryPoints: [web]`.",
        traits=Trait.PATH | Trait.EXPLAINS_ANSWER,
        explanation=f"The router {{router}} is on the entry point {{entry_point}}, but the CA connects to port"
        f" {{port}} {_SPOT}",
        fix=_SNIPPET,
        sample={"server": "traefik"},
    ),
    entry(
        "http01.webroot_mismatch",
        FATAL,
        meaning="The web server serves challenges from a folder that no client writes to.",
        cause="A configuration of another ACME client was left over.",
        action="Forward the path to the responder.",
        traits=Trait.PATH | Trait.EXPLAINS_ANSWER,
        explanation=f"{{server}} serves challenges from the folder {{target}}, which certagent does not write "
        f"to {_SPOT}",
        fix=_SNIPPET,
        sample={"target": "/var/www/html"},
    ),
    entry(
        "http01.host_rewritten",
        FATAL,
        meaning="The web server changes the Host header.",
        cause="`proxy_set_header Host` is set to another name.",
        action="`proxy_set_header Host $host`.",
        traits=Trait.PATH | Trait.EXPLAINS_ANSWER,
        explanation=f"{{server}} forwards challenges to {{target}} with a Host other than {{identifier}} {_SPOT}",
        fix=_SNIPPET,
    ),
    entry(
        "http01.upstream_scheme",
        FATAL,
        meaning="The web server speaks https to the responder.",
        cause="The upstream's URL begins with https.",
        action="Use `http://`.",
        traits=Trait.PATH | Trait.EXPLAINS_ANSWER,
        explanation=f"{{server}} forwards challenges to the responder over https ({{target}}), but the responder speaks"
        f" plain HTTP"
        f" {_SPOT}",
        fix=_SNIPPET,
    ),
    entry(
        "http01.traefik_acme_router",
        FATAL,
        meaning="Traefik's own ACME client takes the challenge's path.",
        cause="A certificate resolver of Traefik uses http-01 on the same entry point.",
        action="Change its resolver or its entry point.",
        traits=Trait.PATH | Trait.EXPLAINS_ANSWER,
        explanation=f"Traefik's own ACME client takes every challenge on the entry point {{entry_point}} {_SPOT}",
        fix=_SNIPPET,
        sample={"server": "traefik"},
    ),
    entry(
        "http01.port_owner",
        ERROR,
        meaning="Another program uses the responder's port.",
        cause="Another ACME client or web server listens there.",
        action="Stop it, or choose another port.",
        traits=Trait.PATH | Trait.DEAD_PORT,
        explanation="Port {port} of {node}, where the responder should listen ({listen}), belongs to "
        "[process?the process {process}][!process?a process that this agent cannot see].",
        fix="Stop [process?{process}][!process?it], or give the responder another port (solver.listen, and whatever"
        " forwards"
        " challenges to it).",
    ),
)
