"""The agent of one node, run so that it can be killed at a point of a renewal; and what is left of it then."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from certagent.state import KEPT_GENERATIONS
from deploy.lab.containers import root, run_inside
from deploy.lab.fleet import Node, find
from deploy.story import witness

FOLDER = "/var/lib/dies-at"
STATE = "/var/lib/certagent"
_SPKI = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
_DROP_IN = f"""[Service]
ExecStart=
ExecStart=/usr/bin/python3 -IS {FOLDER}/dies_at.py {FOLDER} agent --config /etc/certagent/agent.toml
RestartSec=0
"""
_BACK = """
tries=0
while :; do
    said=$(certagent renew "$@" --json) && status=0 || status=$?
    [ "$status" = 1 ] || { printf '%s' "$said"; exit 0; }
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { echo "the agent did not come back" >&2; exit 1; }
    sleep 0.05
done
"""
"""The door opens when what a killed run left is worked off."""


@dataclass(frozen=True)
class Killed:
    """A run that was killed; `id` is empty where none was on disk yet. `is_reported`: by itself, before it died."""

    id: str
    is_reported: bool


class Victim:
    """An agent with one certificate, served for `name` at `address`; what is deployed lies below `target`."""

    def __init__(self, node: str, certificate: str, address: str, name: str, target: str) -> None:
        self.node: Node = find(node)
        self.certificate = certificate
        self._served_at = (address, name)
        self._target = target

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Run by the launcher that can die, and started again at once."""
        drop_in = "/etc/systemd/system/certagent-agent.service.d/dies-at.conf"
        self.sh(f"mkdir -p {FOLDER} ${{1%/*}}; cat >$1", drop_in, text=_DROP_IN)
        self.sh(f"cat >{FOLDER}/dies_at.py", text=(Path(__file__).with_name("dies_at.py")).read_text())
        self.sh("systemctl daemon-reload; systemctl restart certagent-agent")
        try:
            yield
        finally:
            self.sh(f"rm -r {FOLDER} $1; rmdir ${{1%/*}}", drop_in)
            self.sh("systemctl daemon-reload; systemctl restart certagent-agent")

    def sh(self, script: str, *words: str, text: str = "") -> str:
        """What a script in the node says."""
        return run_inside(self.node, "sh", "-euc", script, "sh", *words, text=text)

    def renew(self, *, force: bool) -> dict[str, Any]:
        """Ask for it, once the agent is there; what came of it."""
        (renewed,) = json.loads(self.sh(_BACK, self.certificate, *["--force"] * force))["certificates"]
        return dict(renewed)

    def points(self) -> list[str]:
        """Of the first renewal after a start, which also finds its way to the CA, and has an old pair to remove
        wherever one is kept; without the reports that an agent happens to write beside it."""
        for _ in range(KEPT_GENERATIONS):
            self.renew(force=True)
        self.restart()
        first, second = self._record(), self._record()
        return [point for point in first if "/spool" not in point or point in second]

    def restart(self) -> None:
        """As an upgrade does."""
        self.sh("systemctl restart certagent-agent")
        self.renew(force=False)

    def _record(self) -> list[str]:
        self.sh(f": >{FOLDER}/record")
        renewed = self.renew(force=True)
        assert renewed["outcome"] == "done", renewed
        return self.sh(f"cat {FOLDER}/record; rm {FOLDER}/record").splitlines()

    def die_at(self, point: str) -> Killed | None:
        """Renew, and be killed there. None: it did not come there."""
        renew = 'printf %s "$1" >point; certagent renew --force "$2" >/dev/null 2>&1 || true'
        say = "if [ -e point ]; then rm point; echo missed; else cat killed; fi"
        said = self.sh(f"cd {FOLDER}; {renew}; {say}", point, self.certificate)
        if said.strip() == "missed":
            return None
        run, _, report = said.strip().partition(" ")
        return Killed(run, report == "kept")

    def served(self) -> str:
        """What a verified handshake from the client's node shows."""
        words = ("python3", "-c", witness._FINGERPRINT, self._served_at[0], "443", self._served_at[1])
        return run_inside(find("client"), *words).strip()

    def finalized(self) -> int:
        """How many orders of this node the CA has finalized, by its own log."""
        log = run_inside(find("lxc103"), "journalctl", "-u", "step-ca", "-o", "cat", "--no-pager")
        ours = rf"path=\S*/finalize .* remote-address={re.escape(self.node.address)} .* status=200 "
        return sum(1 for line in log.splitlines() if re.search(ours, line))

    def newest(self) -> int:
        """The number of the generation that was issued last."""
        return max(int(path.name) for path in self._state("generations").iterdir() if path.name.isdigit())

    def has_order(self) -> bool:
        """Whether an order is under way."""
        return self._state("order.json").exists()

    def orphans(self) -> list[str]:
        """Files with a private key that is neither that of the order under way nor of the certificate beside it; in the
        certificate's state and at its target, looked at from outside of the node."""
        tops = (self._state(""), root(self.node) / self._target.lstrip("/"))
        files = (path for top in tops for path in top.rglob("*") if path.is_file() and not path.is_symlink())
        found = [path for path in files if b"PRIVATE KEY" in path.read_bytes()]
        return [str(path) for path in found if path.name != "order.json" and not _is_pair(path)]

    def _state(self, path: str) -> Path:
        return root(self.node) / STATE.lstrip("/") / "certificates" / self.certificate / path


def _is_pair(key: Path) -> bool:
    chain = key.with_name("fullchain.pem")
    if not key.parent.name.partition(".")[0].isdigit() or not chain.exists():
        return False
    leaf = x509.load_pem_x509_certificate(chain.read_bytes())
    return _public(key.read_bytes()) == leaf.public_key().public_bytes(*_SPKI)


def _public(key_pem: bytes) -> bytes:
    return load_pem_private_key(key_pem, password=None).public_key().public_bytes(*_SPKI)
