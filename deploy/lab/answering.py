"""Run inside a node: waits until every place, in that order, answers. Standard library only.

python3 - SECONDS PLACE...

A place is HOST:PORT (accepts a connection) or an https URL (answers with a status below 400, verified by the root).
"""

import select
import socket
import ssl
import sys
import time
import urllib.request

ROOT = "/etc/certagent/root_ca.crt"


def accepts(place: str) -> None:
    """Raise OSError unless somebody listens there."""
    host, port = place.rsplit(":", 1)
    socket.create_connection((host, int(port)), timeout=1).close()


def serves(url: str) -> None:
    """Raise OSError unless it answers well, with a certificate of the CA."""
    trusted = ssl.create_default_context(cafile=ROOT)
    urllib.request.urlopen(url, timeout=2, context=trusted).close()  # noqa: S310 - https alone gets here


def main() -> None:
    """Ask each until it answers; name the one that has not when the bound has passed."""
    until = time.monotonic() + float(sys.argv[1])
    for place in sys.argv[2:]:
        ask = serves if place.startswith("https:") else accepts
        while True:
            try:
                ask(place)
                break
            except OSError as error:
                if time.monotonic() > until:
                    sys.exit(f"{place} does not answer: {error}")
            select.select([], [], [], 0.02)


main()
