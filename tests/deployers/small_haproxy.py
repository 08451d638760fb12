"""As much of HAProxy as a deployment meets, for a machine that has none: `-c`, a master and its worker, a reload by
SIGUSR2, the runtime API. It is run under the name `haproxy` (see `small_haproxy` in real_haproxy.py).

A worker serves the first file of `crt` at each `bind`. A reload that fails leaves the old worker, as HAProxy's does.
"""

import os
import re
import signal
import socket
import ssl
import sys
import threading
from pathlib import Path

_WORDS = {"mode", "timeout", "stats", "crt-base", "default_backend", "server", "bind"}
_SECTION = re.compile(r"(global|defaults|frontend|backend)\b")


def _rejected(text: str) -> str | None:
    """What is wrong with the configuration: its first unknown word."""
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.split()[0] if line.split() else None
        if word is not None and not _SECTION.match(line) and word not in _WORDS:
            return f"parsing [{sys.argv[-1]}:{number}] : unknown keyword '{word}'"
    return None


def _open(text: str, held: dict[str, socket.socket]) -> dict[str, tuple[socket.socket, ssl.SSLContext]]:
    """Each bind with its socket and certificate. Raises OSError: an address is taken, a certificate is not good."""
    found = {}
    for address, crt in re.findall(r"^\s*bind (\S+) ssl crt (\S+)", text, re.MULTILINE):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(crt)
        if address not in held:
            host, _, port = address.rpartition(":")
            held[address] = socket.create_server((host, int(port)))
        found[address] = held[address], context
    return found


def _serve(listening: socket.socket, context: list[ssl.SSLContext]) -> None:
    while True:
        connection, _ = listening.accept()
        try:
            connection.settimeout(5)
            context[0].wrap_socket(connection, server_side=True).close()
        except OSError:
            connection.close()


def _answer(api: socket.socket, is_admin: bool, contexts: list[list[ssl.SSLContext]], staged: Path) -> None:
    while True:
        connection, _ = api.accept()
        with connection:
            command = connection.recv(65536).decode()
            if not is_admin:
                connection.sendall(b"Permission denied\n")
            elif command.startswith("set ssl cert"):
                staged.write_text(command.partition("<<\n")[2])
                connection.sendall(b"Transaction created\n")
            elif command.startswith("commit ssl cert"):
                for context in contexts:
                    context[0] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    context[0].load_cert_chain(staged)
                connection.sendall(b"Committing\nSuccess!\n")


def _work(text: str, opened: dict[str, tuple[socket.socket, ssl.SSLContext]]) -> None:
    """A worker's life; it ends with its master's."""
    contexts = [[context] for _, context in opened.values()]
    for (listening, _), context in zip(opened.values(), contexts, strict=True):
        threading.Thread(target=_serve, args=(listening, context), daemon=True).start()
    asked = re.search(r"stats socket (\S+)", text)
    if asked is not None:
        path = Path(asked[1])
        path.unlink(missing_ok=True)
        api = socket.socket(socket.AF_UNIX)
        api.bind(str(path))
        api.listen()
        words = api, "level admin" in text, contexts, path.with_suffix(".staged")
        threading.Thread(target=_answer, args=words, daemon=True).start()
    signal.sigwait({signal.SIGTERM})
    os._exit(0)


def main() -> None:
    """`-c` checks; `-W` is the master."""
    configuration = Path(sys.argv[-1])
    if "-c" in sys.argv:
        sys.exit(_rejected(configuration.read_text()))
    signals = {signal.SIGUSR2, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    held: dict[str, socket.socket] = {}
    worker = 0
    while True:
        text = configuration.read_text()
        try:
            if (wrong := _rejected(text)) is not None:
                raise OSError(wrong)
            opened = _open(text, held)
        except OSError as error:
            print(error, file=sys.stderr, flush=True)
        else:
            before, worker = worker, os.fork()
            if worker == 0:
                _work(text, opened)
            _end(before)
        if signal.sigwait(signals) == signal.SIGTERM:
            _end(worker)
            sys.exit(0)


def _end(worker: int) -> None:
    if worker:
        os.kill(worker, signal.SIGTERM)
        os.waitpid(worker, 0)


if __name__ == "__main__":
    main()
