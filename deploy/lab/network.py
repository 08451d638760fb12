"""The fleet's own network: a bridge in a network namespace of its own, without a way out.

The namespace is held by a file in the lab's runtime folder, not by `ip netns add`: that would leave a mount on
/run/netns behind. The nodes' links are made by `connect`, which LXC runs at each start.
"""

from deploy.lab import places
from deploy.lab.fleet import GATEWAY
from deploy.lab.processes import run

INSIDE = ("nsenter", f"--net={places.NETWORK}")
"""What a command line begins with to be run in the fleet's network."""


def make() -> None:
    """Make the namespace with its bridge."""
    places.NETWORK.touch()
    run(["unshare", f"--net={places.NETWORK}", "true"])
    run(
        [*INSIDE, "ip", "-batch", "-"],
        text=f"link set lo up\nlink add fleet type bridge\naddress add {GATEWAY}/24 dev fleet\nlink set fleet up\n",
    )
