"""Examples of findings: the templates, filled with facts from the documentation's fleet. Pure."""

from collections.abc import Mapping

from certagent.domain.catalogue.entry import Entry, Situation
from certagent.domain.catalogue.order_codes import SHARED
from certagent.domain.catalogue.templates import expand

_NAME = "traefik.internal.thinkheads.ai"
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


def example_of(entry: Entry) -> str:
    """What a finding of that code says, in its ordinary situation or the first one there is."""
    situation = entry.situations.get("") or next(iter(entry.situations.values()), SHARED["order_refused"])
    return example_in(entry, situation)


def example_in(entry: Entry, situation: Situation) -> str:
    """The same in a given situation."""
    return expand(situation.explanation, {**SAMPLES, **entry.sample})
