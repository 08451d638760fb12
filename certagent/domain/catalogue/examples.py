"""Examples of findings: the templates, filled with facts from the documentation's fleet. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from certagent.domain.catalogue import finding
from certagent.domain.catalogue.entry import SHARED, Entry, Layer, Situation
from certagent.domain.catalogue.templates import expand, facts_in
from certagent.domain.findings import Culprit, Finding, Severity, Vantage

_NAME = "traefik.internal.thinkheads.ai"
_REDIRECT = {"server": "nginx", "address": "10.0.0.153", "http_status": 301, "location": f"https://{_NAME}/"}
_GATEWAY = "10.0.0.153 (lxc101, gateway)"

SAMPLES: Mapping[str, object] = {
    "address": "10.0.0.153",
    "addresses": ["10.0.0.12", "10.0.0.153"],
    "answer": "nxdomain",
    "answers": ["10.0.0.12 (lxc102, traefik)"],
    "asked": ["10.0.0.153"],
    "asker": "lxc103",
    "by_ca": True,
    "certificate": "traefik",
    "challenge": "http-01",
    "changed_at": "2026-11-24T11:55:00+00:00",
    "client": "lxc102",
    "command": "systemctl reload nginx",
    "count": 4,
    "endpoint": "10.0.0.12:443",
    "entry_point": "websecure",
    "error": "refused",
    "extension": "not_critical",
    "failed": 3,
    "fate": "issued",
    "file": "/etc/hosts",
    "folder": "/var/lib/certagent/spool/dead",
    "found": f"{_NAME}.corp",
    "holder": "the agent lxc102, process 812",
    "hops": [{"server": "nginx", "address": "10.0.0.153", "http_status": 404}],
    "identifier": _NAME,
    "instruction": "name_nameserver",
    "issuer": "CN=Intermediate",
    "key_name": "certagent",
    "left": "8:00:00",
    "lifetime": "1 day, 0:00:00",
    "limit": 1,
    "line": 9,
    "lines": [9, 12],
    "listen": "127.0.0.1:5002",
    "location": f"https://{_NAME}/",
    "looker": "lxc103",
    "managed": True,
    "mark": "# --- END PVE ---",
    "most": 7,
    "name": _NAME,
    "names": [_NAME],
    "needed": "0:00:30",
    "node": "lxc103",
    "now": "2026-11-24T12:00:00+00:00",
    "offered": ["dns-01"],
    "option": "ndots",
    "origin": "scripts/main.sh:4",
    "other_zone": "thinkheads.ai",
    "others": ["lxc101"],
    "owner": "www-data",
    "part": "middleware",
    "pem": "/etc/haproxy/certs/shop.pem",
    "place": _GATEWAY,
    "places": [_GATEWAY, "10.0.0.12 (lxc102, traefik)"],
    "port": 80,
    "predicted": "passed",
    "primary": "10.0.0.50",
    "process": "apache2",
    "proxy": "http://10.0.0.50:3128",
    "rcode": "BADKEY",
    "reason": "the connection was reset",
    "record": f"_acme-challenge.{_NAME}",
    "reporter": "lxc102",
    "resolver": "internal",
    "router": "acme@file",
    "said": "it did not answer",
    "seconds": 42,
    "server": "nginx",
    "server_name": _NAME,
    "since": "2026-11-24 11:50 UTC",
    "snippet": "nginx",
    "sources": ["mdns4_minimal"],
    "span": "0:20:00",
    "staged": "chain.pem",
    "status": 1,
    "subject": "CN=traefik",
    "target": "http://127.0.0.1:5002",
    "text": f"10.0.0.153 {_NAME}",
    "total": 5,
    "trouble": "timeout",
    "until": "2026-11-25T03:00:00+00:00",
    "url": "https://ca.internal.thinkheads.ai:9000/acme/acme/directory",
    "user": "www-data",
    "values": ["10.0.0.2", "10.0.0.3"],
    "views": [{"server": "10.0.0.2", "addresses": ["10.0.0.12"]}, {"server": "10.0.0.3", "addresses": ["10.0.0.153"]}],
    "what": "served",
    "word": "nameservers",
    "workers": [51],
    "zone": "internal.thinkheads.ai",
    "zones": ["internal.thinkheads.ai"],
}
"""A usual value of each fact."""


_NGINX = "/etc/nginx/conf.d/gateway.conf"
_PAIR = "/etc/nginx/ssl/gateway.crt"
_COLLECTOR = "https://collector.internal.thinkheads.ai:8843"

SAMPLES_BY_LAYER: Mapping[Layer, Mapping[str, object]] = {
    Layer.CA: {"place": "10.0.0.10 (lxc103, authority)", "said": "the provisioner does not allow it"},
    Layer.HTTP01: {"file": _NGINX, "node": "lxc101"},
    Layer.ALPN: {"said": "the address is in use"},
    Layer.DNS01: {"place": "10.0.0.50 (ns1)", "said": "connection refused"},
    Layer.DEPLOY: {
        "target": f"nginx {_PAIR}",
        "file": _PAIR,
        "endpoint": "10.0.0.153:443",
        "certificate": "gateway",
        "command": "nginx -t -q",
        "said": f"cannot load certificate {_PAIR}",
        "process": "nginx (process 51)",
        "trouble": None,
        "on_disk": True,
        "node": "lxc101",
    },
    Layer.CERT: {"file": _PAIR, "endpoint": "10.0.0.12:443"},
    Layer.AGENT: {"url": _COLLECTOR, "said": "nothing listens there"},
    Layer.CHANNEL: {"said": "renew"},
    Layer.ACME: {"said": "error validating the challenge"},
    Layer.RENEWAL: {"said": "renewal is disabled for this provisioner"},
}
"""Values that a layer has of its own."""

_CA_JSON = "/etc/step-ca/ca.json"
_RESOLV_CONF = "/etc/resolv.conf"
_NSSWITCH = "/etc/nsswitch.conf"
_NO_FILE: Mapping[str, object] = {"file": None}

SAMPLES_BY_CODE: Mapping[str, Mapping[str, object]] = {
    "dns.hosts_conflict": {"count": 2},
    "dns.hosts_duplicate": {"count": 2},
    "dns.loopback": {"place": "127.0.1.1", "text": f"127.0.1.1 {_NAME}"},
    **dict.fromkeys(
        ("dns.nxdomain", "dns.nodata", "dns.servfail", "dns.refused", "dns.timeout", "dns.tcp_blocked"), _NO_FILE
    ),
    "dns.aaaa_wrong_host": {"place": "fd00::153 (lxc101, gateway)"},
    "dns.aaaa_dead": {"place": "fd00::12"},
    "dns.multi_address": {"count": 2},
    "dns.nss_only": {"addresses": ["10.0.0.12"]},
    "dns.rebind_filtered": {"file": "/etc/dnsmasq.conf", "node": "lxc101", "text": "stop-dns-rebind"},
    "dns.hosts_overruled": {"text": "hosts: dns files"},
    "dns.hosts_ignored": {"text": f"traefik {_NAME}"},
    "dns.resolver_public": {"line": 2, "text": "nameserver 9.9.9.9"},
    "dns.resolver_dead": {"file": _RESOLV_CONF, "line": 2, "text": "nameserver 10.0.0.153"},
    "dns.resolver_not_internal": {
        "place": "10.0.0.1",
        "others": ["10.0.0.153 (lxc101, gateway)"],
        "file": _RESOLV_CONF,
        "line": 2,
        "text": "nameserver 10.0.0.1",
    },
    "dns.resolv_conf_broken": {"file": _RESOLV_CONF, "target": "../run/systemd/resolve/stub-resolv.conf"},
    "dns.resolv_conf_ignored": {"line": 2, "text": "nameservers 10.0.0.153"},
    "dns.resolv_conf_differs": {"line": 2, "text": "  nameserver 10.0.0.153"},
    "dns.nsswitch_ignored": {"text": "hosts: files [NOTFOUND=return dns"},
    "dns.nsswitch_no_dns": {"text": "hosts: files"},
    "dns.managed_file": {"edit_at": "proxmox", "file_name": "hosts"},
    "ca.unreachable": {"said": "error opening database of Type badgerv2", "reason": ""},
    "ca.untrusted": {"error": "untrusted"},
    "ca.name_mismatch": {"error": "name_mismatch"},
    "ca.root_changed": {"error": "root_changed"},
    "ca.root_missing": {"file": "/etc/certagent/root_ca.crt", "node": "lxc102"},
    "ca.leaf_expired": {"error": "expired", "file": "/etc/step-ca/certs/intermediate_ca.crt"},
    "ca.directory_missing": {"error": "http_status"},
    "ca.unhealthy": {"error": "unhealthy", "said": "", "reason": ""},
    "ca.provisioner_missing": {"line": 31, "text": '"name": "acme-old",'},
    "ca.challenge_not_offered": {"line": 33, "text": '"challenges": ["dns-01"],'},
    "ca.policy_denies": {"line": 22, "text": '"allow": {"dns": ["*.phoenix.thinkheads.ai"]}'},
    "ca.eab_required": {"said": "external account binding is required"},
    "ca.account_unknown": {"said": "the account does not exist"},
    "ca.lifetime_denied": {"said": "the requested duration is more than the authorized maximum"},
    "http01.responder_absent": {
        "said": "the connection was refused",
        "node": "lxc102",
        "folder": "/var/www/html",
        "owner": "www-data",
        "mode": "0755",
    },
    "http01.forbidden": {"hops": [{"server": "nginx", "address": "10.0.0.153", "http_status": 403}]},
    "http01.server_error": {"hops": [{"server": "nginx", "address": "10.0.0.153", "http_status": 502}]},
    "http01.catchall": {"hops": [{"server": "nginx", "address": "10.0.0.153", "http_status": 200}]},
    "http01.redirected": {"hops": [_REDIRECT, {"server": "Traefik", "address": "10.0.0.12", "http_status": 200}]},
    "http01.redirect_broken": {"hops": [_REDIRECT, {"server": "nginx", "address": "10.0.0.153", "http_status": 404}]},
    "http01.redirect_loop": {"hops": [_REDIRECT, {"name": _NAME, "address": "10.0.0.153", "trouble": "redirect_loop"}]},
    "http01.redirect_offsite": {"hops": [{**_REDIRECT, "location": "https://www.example.com/"}]},
    "http01.slow": {"seconds": 12},
    "http01.tls_on_80": {"said": "BadStatusLine"},
    "http01.upstream_scheme": {"target": "https://127.0.0.1:5002", "text": "proxy_pass https://127.0.0.1:5002;"},
    "http01.port_owner": {"port": 5002},
    "http01.wrong_entrypoint": {
        "file": "/etc/traefik/dynamic/challenge.yml",
        "node": "lxc102",
        "snippet": "traefik",
        "line": 5,
        "text": "entryPoints: [websecure]",
    },
    "http01.webroot_mismatch": {"line": 14, "text": "root /var/www/html;"},
    "http01.host_rewritten": {"line": 16, "text": "proxy_set_header Host $proxy_host;"},
    "http01.traefik_acme_router": {
        "file": "/etc/traefik/traefik.yml",
        "node": "lxc102",
        "snippet": "traefik",
        "entry_point": "web",
        "line": 12,
        "text": "httpChallenge: {entryPoint: web}",
    },
    "dns01.server_unreachable": {"server": "10.0.0.50"},
    "dns01.zone_not_found": {"said": "NOTAUTH"},
    "dns01.tsig": {"said": "BADKEY"},
    "dns01.not_on_all_servers": {"place": "10.0.0.51 (ns2)"},
    "dns01.authority_cannot_see": {"place": "10.0.0.153 (lxc101, gateway)", "server": "10.0.0.50"},
    "dns01.leftover": {"removed": 1},
    "acme.rate_limited": {"said": "too many new orders"},
    "acme.mismatch_final": {"said": "the response does not match"},
    "acme.bad_csr": {"said": "the key type is not allowed"},
    "acme.order_expired": {"said": "the order has expired"},
    "config.unreadable": {"node": "lxc102", "text": "apps: traefik"},
    "deploy.dangling_reference": {
        "file": "/etc/traefik/dynamic/apps.yml",
        "node": "lxc102",
        "text": "middlewares: [acme]",
    },
    "deploy.world_readable": {"file": "/etc/nginx/ssl/gateway.key"},
    "deploy.unreadable_by_service": {"file": "/etc/nginx/ssl/gateway.key", "reason": "Permission denied"},
    "deploy.unproven": {"file": _NGINX, "line": 12, "text": "listen 443 ssl proxy_protocol;"},
    "deploy.traefik_not_loaded": {"target": "traefik /etc/traefik/dynamic", "folder": "/etc/traefik/dynamic"},
    "deploy.rival_pair": {"text": "certFile: /etc/ssl/traefik.crt"},
    "deploy.reload_failed": {"command": "systemctl reload haproxy", "said": "Job for haproxy.service failed."},
    "deploy.chain_incomplete": {"said": "it is empty"},
    "deploy.not_yet_valid": {"since": "2026-11-24T13:00:00+00:00"},
    "cert.chain_ends_first": {"file": "/etc/step-ca/certs/intermediate_ca.crt", "line": None},
    "cert.chain_refused": {"target": "traefik /etc/traefik/dynamic"},
    "cert.renewal_impossible": {"lifetime": "0:01:00", "left": "0:00:20", "needed": "0:00:30"},
    "agent.watch_degraded": {"said": "no inotify instance is left (EMFILE)"},
}
"""Values that a code has of its own."""


def example_of(entry: Entry) -> str:
    """What a finding of that code says, in its ordinary situation or the first one there is."""
    return example_in(entry, _situation_of(entry)[1])


def example_in(entry: Entry, situation: Situation) -> str:
    """The same in a given situation."""
    return expand(situation.explanation, samples_of(entry))


def example_finding(entry: Entry) -> Finding:
    """The same as a whole finding, graded as delivered: what `certagent check` would show of it."""
    name, situation = _situation_of(entry)
    samples: dict[str, Any] = samples_of(entry)
    grades = {Vantage.STATIC: entry.severity} if isinstance(entry.severity, Severity) else entry.severity
    vantage, severity = next(iter(grades.items()))
    made = finding(entry.code, vantage=vantage, culprit=_culprit_of(situation, samples), variant=name, **samples)
    return msgspec.structs.replace(made, severity=severity)


def samples_of(entry: Entry) -> dict[str, object]:
    """The facts of an entry's example."""
    by_layer, by_code = SAMPLES_BY_LAYER.get(entry.layer, {}), SAMPLES_BY_CODE.get(entry.code, {})
    return {**SAMPLES, **by_layer, **entry.sample, **by_code}


def _situation_of(entry: Entry) -> tuple[str, Situation]:
    if not entry.situations:
        return "order_refused", SHARED["order_refused"]
    name = "" if "" in entry.situations else next(iter(entry.situations))
    return name, entry.situations[name]


def _culprit_of(situation: Situation, samples: Mapping[str, Any]) -> Culprit | None:
    """The file that the sentences name, with its line where they name one."""
    used = facts_in(situation.explanation) | facts_in(situation.fix or "")
    if "file" not in used or samples["file"] is None:
        return None
    line = samples["line"] if "line" in used else None
    return Culprit(node=samples["node"], file=samples["file"], line=line, text=samples["text"] if line else None)
