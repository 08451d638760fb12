"""Examples of findings: the templates, filled with facts from the documentation's fleet. Pure."""

from collections.abc import Mapping

from certagent.domain.catalogue.entry import SHARED, Entry, Layer, Situation
from certagent.domain.catalogue.templates import expand

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
    "folder": "/var/lib/certagent/dead",
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
    "other_zone": "thinkheads.ai",
    "others": ["lxc101"],
    "owner": "www-data",
    "part": "middleware",
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
    Layer.AGENT: {"url": _COLLECTOR, "said": "the connection was refused"},
    Layer.CHANNEL: {"said": "renew"},
    Layer.ACME: {"said": "error validating the challenge"},
    Layer.RENEWAL: {"said": "renewal is disabled for this provisioner"},
}
"""Values that a layer has of its own."""

SAMPLES_BY_CODE: Mapping[str, Mapping[str, object]] = {
    "ca.untrusted": {"error": "untrusted"},
    "ca.name_mismatch": {"error": "name_mismatch"},
    "ca.root_changed": {"error": "root_changed"},
    "ca.leaf_expired": {"error": "expired"},
    "ca.directory_missing": {"error": "http_status"},
    "ca.unhealthy": {"error": "unhealthy"},
    "ca.eab_required": {"said": "external account binding is required"},
    "ca.account_unknown": {"said": "the account does not exist"},
    "ca.lifetime_denied": {"said": "the requested duration is more than the authorized maximum"},
    "dns.loopback": {"place": "127.0.1.1"},
    "dns.aaaa_wrong_host": {"place": "fd00::153 (lxc101, gateway)"},
    "dns.aaaa_dead": {"place": "fd00::12"},
    "dns.rebind_filtered": {"file": "/etc/dnsmasq.conf", "node": "lxc101"},
    "dns.resolver_not_internal": {"place": "10.0.0.1", "others": ["10.0.0.153 (lxc101, gateway)"]},
    "dns.resolv_conf_broken": {"file": "/etc/resolv.conf", "target": "../run/systemd/resolve/stub-resolv.conf"},
    "http01.responder_absent": {"said": "the connection was refused", "node": "lxc102"},
    "http01.forbidden": {"hops": [{"server": "nginx", "address": "10.0.0.153", "http_status": 403}]},
    "http01.server_error": {"hops": [{"server": "nginx", "address": "10.0.0.153", "http_status": 502}]},
    "http01.catchall": {"hops": [{"server": "nginx", "address": "10.0.0.153", "http_status": 200}]},
    "http01.redirected": {"hops": [_REDIRECT, {"server": "Traefik", "address": "10.0.0.12", "http_status": 200}]},
    "http01.redirect_broken": {"hops": [_REDIRECT, {"server": "nginx", "address": "10.0.0.153", "http_status": 404}]},
    "http01.redirect_loop": {"hops": [_REDIRECT, {"name": _NAME, "address": "10.0.0.153", "trouble": "redirect_loop"}]},
    "http01.redirect_offsite": {"hops": [_REDIRECT]},
    "http01.slow": {"seconds": 12},
    "http01.tls_on_80": {"said": "BadStatusLine"},
    "http01.upstream_scheme": {"target": "https://127.0.0.1:5002"},
    "http01.port_owner": {"port": 5002},
    "http01.wrong_entrypoint": {"file": "/etc/traefik/dynamic/challenge.yml", "node": "lxc102"},
    "http01.traefik_acme_router": {"file": "/etc/traefik/traefik.yml", "node": "lxc102"},
    "dns01.leftover": {"removed": 1},
    "acme.rate_limited": {"said": "too many new orders"},
    "acme.mismatch_final": {"said": "the response does not match"},
    "acme.bad_csr": {"said": "the key type is not allowed"},
    "acme.order_expired": {"said": "the order has expired"},
    "deploy.world_readable": {"file": "/etc/nginx/ssl/gateway.key"},
    "deploy.unreadable_by_service": {"file": "/etc/nginx/ssl/gateway.key"},
    "deploy.traefik_not_loaded": {"target": "traefik /etc/traefik/dynamic"},
    "deploy.reload_failed": {"command": "systemctl reload haproxy", "said": "Job for haproxy.service failed."},
    "deploy.not_yet_valid": {"since": "2026-11-24T13:00:00+00:00"},
    "agent.watch_degraded": {"said": "no inotify instance is left (EMFILE)"},
}
"""Values that a code has of its own."""


def example_of(entry: Entry) -> str:
    """What a finding of that code says, in its ordinary situation or the first one there is."""
    situation = entry.situations.get("") or next(iter(entry.situations.values()), SHARED["order_refused"])
    return example_in(entry, situation)


def example_in(entry: Entry, situation: Situation) -> str:
    """The same in a given situation."""
    return expand(situation.explanation, samples_of(entry))


def samples_of(entry: Entry) -> dict[str, object]:
    """The facts of an entry's example."""
    by_layer, by_code = SAMPLES_BY_LAYER.get(entry.layer, {}), SAMPLES_BY_CODE.get(entry.code, {})
    return {**SAMPLES, **by_layer, **entry.sample, **by_code}
