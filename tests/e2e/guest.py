"""A guest of the fleet: a seventh node, of Debian 13, with nginx, Traefik and Debian's certbot, and a name in its DNS.

None of them runs at first, and nothing of certagent's is there. It goes with the lab.
"""

from pathlib import Path

from deploy.lab import containers, places, ready, rootfs
from deploy.lab.fleet import Node
from deploy.lab.lock import alone
from deploy.lab.parts import traefik
from deploy.story import witness

NODE = Node("lxc105", "10.0.0.105", "guest")
NAME = "shop.internal.thinkheads.ai"

_KNOWN = f"echo host-record={NAME},{NODE.address} >/etc/dnsmasq.d/guest.conf; systemctl restart dnsmasq"


def bring_in(system: Path | None = None) -> None:
    """Make it and start it, in a lab that is up; from another root file system than the usual one, where given."""
    with alone():
        containers.make(NODE, [traefik.ensure(), system or rootfs.ensure(rootfs.TRIXIE)])
        containers.put_tree(NODE, places.LAB / "nodes" / "all")
        unit = "/etc/systemd/system/traefik.service"
        containers.put(NODE, unit, (places.LAB / "nodes" / "lxc102" / unit.lstrip("/")).read_bytes())
        containers.put(NODE, "/etc/hostname", f"{NODE.name}\n".encode())
        containers.put(NODE, "/etc/hosts", b"127.0.0.1 localhost\n")
        containers.put(NODE, "/etc/certagent/root_ca.crt", places.ROOT.read_bytes())
        containers.start(NODE)
        ready.wait_until_booted(NODE)
    witness.inside("lxc101", "sh", "-euc", _KNOWN)


def sh(script: str) -> str:
    """What a script prints that runs in it, as root; it has to end well."""
    return witness.inside(NODE.name, "sh", "-euc", script).stdout


def write(path: str, content: str) -> None:
    """Put a file there."""
    containers.run_inside(NODE, "sh", "-c", 'cat >"$1"', "sh", path, text=content)
