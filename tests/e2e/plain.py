"""A plain ACME client in a node's network: what the real CA says to anybody, without certagent."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from deploy.lab import places

CLIENT = Path(__file__).parents[1] / "lab" / "plain_acme.py"


def ask_plainly(identifier: str, node: str = "lxc102", port: int = 5002) -> dict[str, Any]:
    """One order for `identifier`, its challenge answered on `port` of the node's loopback."""
    info = subprocess.run(
        ["lxc-info", "-P", str(places.CONTAINERS), "-n", node, "-p", "-H"],
        capture_output=True,
        text=True,
        check=True,
    )
    inside = ["nsenter", f"--net=/proc/{info.stdout.strip()}/ns/net"]
    words = [sys.executable, str(CLIENT), identifier, "--root", str(places.ROOT), "--listen", str(port)]
    done = subprocess.run([*inside, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
