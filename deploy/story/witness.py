"""What the story sees: the collector's API, the webhook's receiver, served certificates, the CA's log. Only reads."""

import html
import json
import re
import subprocess
import urllib.request
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

LAB = Path(__file__).resolve().parents[1] / "lab" / "run"
_UNABLE = 1

_FINGERPRINT = """
import hashlib, socket, ssl, sys
address, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl.create_default_context(cafile="/etc/certagent/root_ca.crt")
with socket.create_connection((address, port), timeout=5) as plain:
    with context.wrap_socket(plain, server_hostname=name) as tls:
        print(hashlib.sha256(tls.getpeercert(binary_form=True)).hexdigest())
"""


class Unseen(Exception):
    """Something that the story needs to see cannot be seen; the message is for a person."""


def inside(node: str, *command: str, check: bool = True, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Run a command in a node of the lab. Raises `Unseen` when it fails and `check` is set."""
    return lab("exec", node, "--", *command, check=check, timeout=timeout)


def lab(*words: str, check: bool = True, timeout: float = 900, show: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the lab's own command; `show`: its progress goes to the person."""
    done = subprocess.run(
        [str(LAB), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if show else subprocess.PIPE,
        text=True,
        timeout=timeout,
        check=False,
    )
    if check and done.returncode != 0:
        raise Unseen(f"`lab {' '.join(words)[:80]}`: exit {done.returncode}\n{(done.stderr or '') + done.stdout}")
    return done


def provision(node: str) -> str:
    """Run the node's set-up script, as the checkout has it now; answers which, and at which commit."""
    return lab("provision", node).stdout.strip()


def mend(file: str, line: int, text: str) -> None:
    """Take a line out of a file of the checkout. Raises `Unseen` when it is another one than that."""
    path = Path(json.loads(lab("status", "--json").stdout)["provisioning"]) / file
    lines = path.read_text().splitlines(keepends=True)
    if lines[line - 1] != f"{text}\n":
        raise Unseen(f"line {line} of {path} is not `{text}` but `{lines[line - 1].rstrip()}`")
    path.write_text("".join(lines[: line - 1] + lines[line:]))


@cache
def page() -> str:
    """The loopback address of the collector's page, without a slash at its end."""
    return str(json.loads(lab("status", "--json").stdout)["page"]).rstrip("/")


def collector(path: str) -> Any:
    """A document of the collector's API. A lab that was taken down and brought up since has its page elsewhere."""
    try:
        return _document(path)
    except OSError:
        page.cache_clear()
    try:
        return _document(path)
    except OSError as error:
        page.cache_clear()
        raise Unseen(f"the collector's API does not answer {path}: {error}") from error


def _document(path: str) -> Any:
    with urllib.request.urlopen(page() + path, timeout=5) as answer:  # noqa: S310 -- loopback, http
        return json.load(answer)


def text(path: str) -> str:
    """A page of the collector's, without its markup."""
    with urllib.request.urlopen(page() + path, timeout=5) as answer:  # noqa: S310 -- loopback, http
        return " ".join(html.unescape(re.sub(r"<[^>]*>", "", answer.read().decode())).split())


def items(path: str) -> list[dict[str, Any]]:
    """All of a list, page by page."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = collector(path + cursor)
        found += page["items"]
        if page["next"] is None:
            return found
        cursor = f"{'&' if '?' in path else '?'}cursor={page['next']}"


def open_incidents() -> list[dict[str, Any]]:
    """Incidents that are not resolved."""
    return [one for one in items("/v1/incidents") if one["state"] != "resolved"]


def served(address: str, name: str) -> str:
    """The SHA-256 of the certificate that a verified handshake from the client's node meets."""
    return inside("client", "python3", "-c", _FINGERPRINT, address, "443", name).stdout.strip()


def request(url: str) -> int:
    """The status of the client's HTTPS request, verified against the lab's root."""
    words = ("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", "/etc/certagent/root_ca.crt", url)
    return int(inside("client", *words).stdout)


def messages() -> list[dict[str, Any]]:
    """What the webhook's receiver got so far."""
    told = inside("client", "sh", "-c", "cat /var/log/webhook.jsonl 2>/dev/null || true").stdout
    return [json.loads(line) for line in told.splitlines()]


def orders() -> int:
    """How many orders the CA was asked for, by its own log."""
    log = inside("lxc103", "journalctl", "-u", "step-ca", "-o", "cat", "--no-pager").stdout
    return sum(1 for line in log.splitlines() if re.search(r"path=\S*/new-order ", line))


def changed_at(node: str, path: str) -> datetime:
    """When a file of a node was last written, to the clock that all nodes share."""
    seconds = inside(node, "stat", "-c", "%.9Y", path).stdout
    return datetime.fromtimestamp(float(seconds), UTC)


def certagent(node: str, *words: str) -> tuple[int, dict[str, Any]]:
    """(exit status, document) of a certagent command in a node. Raises `Unseen` if it could not do its work."""
    done = inside(node, "certagent", *words, "--json", check=False)
    if done.returncode == _UNABLE:
        raise Unseen(f"certagent {' '.join(words)} on {node}: {done.stderr or done.stdout}")
    return done.returncode, json.loads(done.stdout)
