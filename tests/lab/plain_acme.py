"""A plain ACME client, without any of certagent: what the real CA says to an ordinary http-01 order.

Run in the network of the node that asks (`nsenter --net=/proc/PID/ns/net`), it answers challenges on `--listen`, where
the node's proxy sends them, and prints one JSON document a line, for each identifier one:

    {"identifier", "issued": bool, "authorization": status | null, "problem": {"type", "detail"} | null, "seconds"}

`authorization` is null when it did not come so far. Exit status 0 also when the CA refuses: a refusal is an answer.
"""

import argparse
import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests
from acme import challenges, client, crypto_util, errors, messages
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from josepy.util import ComparableECKey

AUTHORITY = "ca.internal.thinkheads.ai"


def main() -> None:
    """Place one order and tell what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("identifier", nargs="+")
    parser.add_argument("--root", required=True, help="the CA's root certificate, a PEM file")
    parser.add_argument("--ca", default="10.0.0.10", help="the CA's address; its name is not asked of anybody")
    parser.add_argument(
        "--listen",
        type=int,
        default=5002,
        help="the port that answers challenges: on loopback, or everywhere when it is below 1024",
    )
    parser.add_argument("--patience", type=float, default=5.0, help="seconds to ask again while the CA says pending")
    arguments = parser.parse_args()
    pin(AUTHORITY, arguments.ca)
    bodies: dict[str, str] = {}
    with answering(arguments.listen, bodies), ThreadPoolExecutor() as pool:
        for answer in pool.map(
            lambda identifier: order(identifier, arguments.root, bodies, arguments.patience), arguments.identifier
        ):
            print(json.dumps(answer))


def order(identifier: str, root: str, bodies: dict[str, str], patience: float) -> dict[str, Any]:
    """One order for `identifier` with an account of its own; what it has to answer goes into `bodies`."""
    begun = time.monotonic()
    try:
        answer = _order(identifier, root, bodies, patience)
    except (errors.Error, messages.Error, requests.RequestException) as refused:
        problem = {"type": getattr(refused, "typ", type(refused).__name__), "detail": str(refused)}
        answer = {"issued": False, "authorization": None, "problem": problem}
    return {"identifier": identifier, **answer, "seconds": round(time.monotonic() - begun, 3)}


def _order(identifier: str, root: str, bodies: dict[str, str], patience: float) -> dict[str, Any]:
    account = JWKEC(key=ComparableECKey(ec.generate_private_key(ec.SECP256R1())))
    net = client.ClientNetwork(account, alg=ES256, verify_ssl=root, timeout=40)  # type: ignore[arg-type] # a file, too
    acme = client.ClientV2(client.ClientV2.get_directory(f"https://{AUTHORITY}:9000/acme/acme/directory", net), net)
    acme.new_account(messages.NewRegistration.from_data(terms_of_service_agreed=True))
    key = ec.generate_private_key(ec.SECP256R1())
    placed = acme.new_order(crypto_util.make_csr(_pem(key), [identifier]))
    [authorization] = placed.authorizations
    offered = [one for one in authorization.body.challenges if isinstance(one.chall, challenges.HTTP01)]
    if not offered:
        raise errors.Error("the CA offers no http-01")
    [challenge] = offered
    response, validation = challenge.response_and_validation(account)
    bodies[challenge.chall.path] = validation
    # While it cannot connect, the CA holds this request for 30 s and then ends it without an answer.
    with contextlib.suppress(errors.Error, messages.Error, requests.RequestException):
        acme.answer_challenge(challenge, response)
    authorization = _poll(acme, authorization, time.monotonic() + patience)
    issued = authorization.body.status == messages.STATUS_VALID
    if issued:
        acme.finalize_order(placed.update(authorizations=[authorization]), _deadline())
    problem = next((one.error for one in authorization.body.challenges if one.error), None)
    return {
        "issued": issued,
        "authorization": str(authorization.body.status.name),
        "problem": {"type": problem.typ, "detail": problem.detail} if problem else None,
    }


@contextlib.contextmanager
def answering(port: int, bodies: Mapping[str, str]) -> Iterator[None]:
    """Serve each of `bodies` at its path, and nothing else. Where the port is taken, whoever has it answers."""

    class Responder(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = bodies.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write((body or "").encode())

        def log_request(self, code: Any = "-", size: Any = "-") -> None:
            del code, size

    try:
        server = ThreadingHTTPServer(("127.0.0.1" if port > 1023 else "", port), Responder)
    except OSError as taken:
        print(f"port {port}: {taken}", file=sys.stderr)
        yield
        return
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def pin(name: str, address: str) -> None:
    """Have `name` lead to `address` in this process: the subject here is how the CA resolves, not how we do."""
    ask = socket.getaddrinfo

    def pinned(host: Any, *args: Any, **kwargs: Any) -> Any:
        return ask(address if host == name else host, *args, **kwargs)

    socket.getaddrinfo = pinned


def _poll(acme: client.ClientV2, authorization: Any, until: float) -> Any:
    """Read the authorization until it is decided, or the CA has told why it is not."""
    while True:
        authorization, _ = acme.poll(authorization)
        refused = any(one.error for one in authorization.body.challenges)
        if authorization.body.status != messages.STATUS_PENDING or refused or time.monotonic() > until:
            return authorization
        time.sleep(0.05)  # a CA that is still fetching: bounded by `until`


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _deadline() -> Any:
    return datetime.now() + timedelta(seconds=20)  # noqa: DTZ005 - the package compares with a naive now()


if __name__ == "__main__":
    main()
