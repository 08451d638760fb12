"""The nodes of the lab, as a table. Their files are in `nodes/<name>`, `nodes/all` is on every one of them."""

from dataclasses import dataclass

GATEWAY = "10.0.0.1"
"""The bridge's own address. It forwards nothing; the forwarder to the collector's page speaks from it."""


@dataclass(frozen=True)
class Node:
    """One container of the fleet."""

    name: str
    address: str
    role: str
    services: tuple[str, ...] = ()
    """The systemd units, beside certagent's, that make the node what it is."""
    agent: bool = False
    collector: bool = False
    speaks_as: str | None = None
    """The role of its token at the collector, when it is not an ordinary agent."""


FLEET = (
    Node("lxc101", "10.0.0.153", "nameserver and gateway", ("dnsmasq", "nginx"), agent=True),
    Node("lxc102", "10.0.0.12", "reverse proxy", ("traefik",), agent=True),
    Node("lxc103", "10.0.0.10", "certificate authority", ("step-ca",), agent=True, speaks_as="authority"),
    Node("lxc104", "10.0.0.104", "collector", agent=True, collector=True),
    Node("vm1001", "10.0.0.101", "application", ("nginx",)),
    Node("client", "10.0.0.50", "client and webhook receiver", ("webhook-receiver",)),
)


def find(name: str) -> Node:
    """The node of that name.

    Raises:
        LookupError: there is none; the message lists those there are.
    """
    for node in FLEET:
        if node.name == name:
            return node
    raise LookupError(f"there is no node {name!r}; there are {', '.join(node.name for node in FLEET)}")
