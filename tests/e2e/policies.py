"""An agent with a policy of the test's own."""

from collections.abc import Iterator
from contextlib import contextmanager

from deploy.story import witness

_USE = """
systemctl stop certagent-agent
cp -p /etc/certagent/agent.toml /root/agent.toml.before
printf %s "$1" >/etc/certagent/policy.toml
sed -i '/^state = /a policy = "/etc/certagent/policy.toml"' /etc/certagent/agent.toml
"""
_AS_BEFORE = """
cp -p /root/agent.toml.before /etc/certagent/agent.toml
rm -f /root/agent.toml.before /etc/certagent/policy.toml
systemctl restart certagent-agent
"""


@contextmanager
def with_policy(node: str, policy: str) -> Iterator[None]:
    """The node's agent with that policy, stopped for the moment; as before at the end."""
    witness.inside(node, "sh", "-euc", _USE, "sh", policy)
    try:
        yield
    finally:
        witness.inside(node, "sh", "-euc", _AS_BEFORE)


def start(node: str) -> None:
    """Its agent."""
    witness.inside(node, "systemctl", "start", "certagent-agent")
