"""A gateway with a thousand servers is read and judged within a second of processor time."""

import sys
import time
from pathlib import Path

import pytest

from certagent.domain.observations import ServerAction
from certagent.vantage.web_server_config import WebServerConfigs
from tests.nginx.real_nginx import write

_SERVERS = """server {{
    listen 80;
    server_name host{number}.home.test www.host{number}.home.test;
    include snippet.conf;
    location / {{ return 301 https://$host$request_uri; }}
}}
server {{
    listen 443 ssl;
    server_name host{number}.home.test;
    ssl_certificate /etc/ssl/{number}.crt;
    ssl_certificate_key /etc/ssl/{number}.key;
    location / {{ proxy_pass http://10.0.0.9:8080; proxy_set_header Host $host; }}
    location ~ \\.php$ {{ deny all; }}
}}
"""
_SNIPPET = "location ^~ /.well-known/acme-challenge/ {\n    proxy_pass http://127.0.0.1:5002;\n}\n"


def test_a_thousand_servers_take_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of them in files of their own; no expression is tried where none could decide."""
    files = {f"sites/{number}.conf": _SERVERS.format(number=number) for number in range(250)}
    rest = "".join(_SERVERS.format(number=number) for number in range(250, 500))
    files["nginx.conf"] = f"events {{}}\nhttp {{\ninclude sites/*.conf;\n{rest}}}\n"
    path = write(tmp_path / "nginx", {**files, "snippet.conf": _SNIPPET})
    monkeypatch.setitem(sys.modules, "pcre2", None)
    begun = time.process_time()
    (seen,) = WebServerConfigs(path, ()).observe("www.host499.home.test", "10.0.0.12")
    assert time.process_time() - begun <= 1
    assert (seen.action, seen.target) == (ServerAction.PASSES, "http://127.0.0.1:5002")
    assert seen.place is not None
    assert (Path(seen.place.file).name, seen.place.line) == ("snippet.conf", 2)
