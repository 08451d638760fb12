"""The catalogue: what provisioning code would write into resolver files. Data only."""

from certagent.domain.catalogue.entry import Trait, entry
from certagent.domain.findings import Severity

FATAL, ERROR, WARN, INFO = Severity

_WRITES = "Line {line} of {file}[origin?, called in {origin},] writes `{text}` into {target}[node? on {node}]"
_REMOVE = "[!origin?Remove line {line} of {file}][origin?Remove the call in {origin} (line {line} of {file} does it)]"
_EDIT = "line {line} of {file}"
_SAMPLE = {"file": "scripts/lxc103.sh", "line": 14, "target": "/etc/hosts", "resolver": "10.0.0.153"}
_SAMPLE |= {
    "answers": ["10.0.0.12"],
    "evidence": "scripts/base.sh:7",
    "holder": "Proxmox VE",
    "origin": None,
    "word": "3f2a91c0b7d4",
}
_RESOLV = {**_SAMPLE, "text": "nameserver 8.8.8.8", "address": "8.8.8.8", "target": "/etc/resolv.conf", "by_ca": None}

_AGAIN = (
    "At its next run, line {line} of {file} in the provisioning code[origin?, called in {origin},] writes {text} into"
    " {target} on {others} again. With that line, "
)
_OF_COMMIT = " This is the code of commit {word} ({changed_at})."
_STOP = _REMOVE + " in the provisioning code; until then, the line on {others} comes back."

ENTRIES = (
    entry(
        "source.hosts_pinned.authority",
        FATAL,
        meaning=(
            "Provisioning code pins a name of the fleet, in the CA's hosts file, to an address other than the DNS"
            " answer."
        ),
        cause="The line was written before the service moved, or names the gateway in place of the service.",
        action="Remove the line from the code, and from the node.",
        traits=Trait.NONE,
        explanation=f"{_WRITES}, the CA's node; {{resolver}} says {{answers}}. The CA asks its hosts file before DNS,"
        " so its challenges for {identifier} (HTTP-01, TLS-ALPN-01) go to {address} and fail, and no certificate for"
        " {identifier} is issued or renewed.",
        fix=f"{_REMOVE}, then the line from {{target}}[node? on {{node}}]: the CA then uses the DNS answer, "
        f"{{answers}}.",
        variants={
            "live": (
                _AGAIN
                + "the CA connects [address?to {address}][!address?to another address] for the names in it: their "
                "challenges fail there, and no certificate for them is issued or renewed." + _OF_COMMIT,
                _STOP,
            )
        },
        sample=_SAMPLE,
    ),
    entry(
        "source.hosts_pinned.client",
        ERROR,
        meaning="Provisioning code pins a name of the fleet to an address other than the DNS answer.",
        cause="The line was written before the service moved, or names the gateway in place of the service.",
        action="Remove the line from the code, and from the node.",
        traits=Trait.NONE,
        explanation=f"{_WRITES}; {{resolver}} says {{answers}}. Programs there that resolve {{identifier}} connect to"
        " {address}; if the CA's own node is set up by the same code, its challenges for {identifier} go there, too,"
        " and fail.",
        fix=f"{_REMOVE}, then the line from {{target}}[node? on {{node}}]: DNS says {{answers}}.",
        variants={
            "live": (
                _AGAIN
                + "programs there that resolve the names in it are sent [address?to {address}][!address?elsewhere], and"
                " DNS says otherwise." + _OF_COMMIT,
                _STOP,
            )
        },
        sample=_SAMPLE,
    ),
    entry(
        "source.hosts_agrees",
        INFO,
        meaning="Provisioning code pins a name of the fleet to the same address as DNS.",
        cause="The line was needed before DNS had the name, or was added out of habit.",
        action="Remove the line: it does nothing today, and is wrong as soon as the service moves.",
        explanation=f"{_WRITES}, the same address as {{resolver}} says. It changes nothing today; once "
        f"{{identifier}} moves, it"
        " leads to the wrong address.",
        fix=f"{_REMOVE}.",
        sample={**_SAMPLE, "address": "10.0.0.12"},
    ),
    entry(
        "source.hosts_conflict",
        ERROR,
        meaning="Two places of the provisioning code pin one name to different addresses.",
        cause="Only one of them was changed.",
        action="Keep one of the two, or none and a DNS record.",
        explanation=f"{_WRITES}, but {{evidence}} pins {{identifier}} to {{answers}}.",
        fix=f"Correct {_EDIT} or {{evidence}}; better, remove both and add {{identifier}} to the zone.",
        sample=_SAMPLE,
    ),
    entry(
        "source.hosts_unguarded",
        WARN,
        meaning="Provisioning code appends a line without checking whether it exists: each run adds it again.",
        cause="`>>` or `tee -a` without a check before it.",
        action="Check with `grep -qxF LINE FILE` before appending.",
        explanation=f"{_WRITES} without a check: each run adds it again, after any older line for the same name.",
        fix=f"In {_EDIT}, check first: grep -qxF LINE {{target}} || echo LINE >> {{target}}.",
        sample=_SAMPLE,
    ),
    entry(
        "source.overwritten",
        WARN,
        meaning="Provisioning code writes a file that another program rewrites at every start.",
        cause="The file has a manager: cloud-init with `manage_etc_hosts`, Proxmox VE, Docker.",
        action="Make the change where the file is generated.",
        explanation=f"{_WRITES}, but {{holder}} rewrites that file at every start[evidence? ({{evidence}} asks for"
        " it)]: the line is lost.",
        fix=f"Set it where {{holder}} reads it from, and remove {_EDIT}.",
        sample=_SAMPLE,
    ),
    entry(
        "source.resolver_public",
        WARN,
        meaning="Provisioning code gives a node a public nameserver, which does not know the fleet's names.",
        cause="A public server was meant as a fallback, or the code was copied from a tutorial.",
        action="Name only the fleet's nameservers.",
        explanation=f"{_WRITES}[by_ca?, the CA's node]: {{address}} is a public server and does not know the fleet's"
        " names[zones? ({zones})]. While it is asked, they do not exist[by_ca? for the CA, and every challenge fails].",
        fix=f"Name only the fleet's nameservers in {_EDIT}[asked?: {{asked}}].",
        sample=_RESOLV,
    ),
    entry(
        "source.resolver_elsewhere",
        WARN,
        meaning="Provisioning code gives a node a nameserver that does not belong to the fleet.",
        cause="The nameserver has moved, or the code is from another network.",
        action="Name the fleet's nameservers.",
        explanation=f"{_WRITES}[by_ca?, the CA's node]: {{address}} is not a nameserver of the fleet ({{asked}}).",
        fix=f"Name the fleet's nameservers in {_EDIT}: {{asked}}.",
        sample={**_RESOLV, "text": "nameserver 192.168.1.1", "address": "192.168.1.1"},
    ),
    entry(
        "source.line_returns",
        ERROR,
        meaning="Provisioning code writes a line that an incident is, or was, about.",
        cause="The line was removed from the node only, not from the code.",
        action="Remove the line from the code, and from the node.",
        explanation=_AGAIN.removesuffix(" With that line, ") + " {found} comes back with it." + _OF_COMMIT,
        fix=_STOP,
        sample={**_RESOLV, "found": "dns.resolver_public", "others": ["lxc101"], "changed_at": "2026-11-20 09:12 UTC"},
    ),
    entry(
        "source.name_without_record",
        WARN,
        meaning="Provisioning code pins a name of the fleet that has no DNS record.",
        cause="The name was never added to the zone, so each node got a hosts line by hand.",
        action="Add the record, then remove the line.",
        explanation=f"{_WRITES}, and {{resolver}} has no record for {{identifier}}: without the line, a node "
        f"cannot resolve it, and the CA cannot validate a challenge for it.",
        fix=f"Add {{identifier}} with {{address}} to the zone, then remove {_EDIT}[origin? (its call in {{origin}})].",
        sample=_SAMPLE,
    ),
)
