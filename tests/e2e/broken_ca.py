"""Stands in the CA's place, on its port and with a certificate of its own root, and answers everything alike.

`python3 broken_ca.py CERTIFICATE KEY ANSWER`: in the CA's node, by its python alone. ANSWER is one of `ANSWERS`.
"""

import socketserver
import ssl
import sys
import time

ANSWERS = {
    "500": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops",
    "503": b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 60\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "garbage": b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\nConnection: close\r\n\r\n<html>not a CA</html>\r\n",
    "nothing": b"",
}
LONGEST_SILENCE = 120.0


class Broken(socketserver.BaseRequestHandler):
    """One connection: the first bytes of a request, then the answer, or silence."""

    def handle(self) -> None:
        """See the module."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1], sys.argv[2])
        with context.wrap_socket(self.request, server_side=True) as tls:
            tls.recv(65536)
            if answer := ANSWERS[sys.argv[3]]:
                tls.sendall(answer)
            else:
                time.sleep(LONGEST_SILENCE)


class Server(socketserver.ThreadingTCPServer):
    """On the CA's port."""

    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    Server(("", 9000), Broken).serve_forever()
