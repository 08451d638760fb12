"""What nginx's configuration says of the pairs and ports that are deployed to."""

from pathlib import Path

import pytest

from certagent.agent.nginx_reader import NginxReader
from certagent.config import Endpoint, NginxTarget, ProofEndpoint
from certagent.domain.diagnosis.order_result import fault_found

SERVER = """user www-data;
http {
  server {
    listen 443 ssl;
    ssl_certificate %s;
    ssl_certificate_key %s;
  }
}
"""
TARGET = NginxTarget(certificate=Path("/etc/nginx/ssl/gateway.crt"), key=Path("/etc/nginx/ssl/gateway.key"))


def _reader(folder: Path, text: str) -> NginxReader:
    (folder / "nginx.conf").write_text(text)
    return NginxReader(folder / "nginx.conf")


@pytest.mark.parametrize(
    ("certificate", "key", "line"),
    [
        ("/etc/nginx/ssl/$mycert.crt", "/etc/nginx/ssl/$mycert.key", 6),
        ("/etc/nginx/ssl/gateway.crt", "$keys", 6),
        ("/etc/nginx/ssl/gateway.crt", "/etc/nginx/${folder}/gateway.key", 6),
        ("/etc/nginx/ssl/$mycert.crt", "/etc/nginx/ssl/gateway.key", 5),
        ("/etc/nginx/ssl/gateway.crt", "/etc/nginx/ssl/gateway.key", None),
        ("/srv/$mycert.crt", "/srv/$mycert.key", None),
        ("data:$mycert", "data:$mykey", None),
    ],
)
def test_a_variable_makes_the_worker_the_reader(tmp_path: Path, certificate: str, key: str, line: int | None) -> None:
    """Where it can stand for the target's own files; the line, and whom the worker runs as."""
    found = _reader(tmp_path, SERVER % (certificate, key)).find_worker(TARGET)
    assert (found.place.line if found is not None else None) == line
    assert found is None or (found.user, found.place.file) == ("www-data", str(tmp_path / "nginx.conf"))


def test_without_nginx_there_is_nothing_to_say(tmp_path: Path) -> None:
    """And a broken configuration is no reason to stop."""
    reader = NginxReader(tmp_path / "nginx.conf")
    assert (reader.find_worker(TARGET), reader.split("nginx", ["10.0.0.1:443"])) == (None, (["10.0.0.1:443"], []))
    assert _reader(tmp_path, "http { ssl_certificate $a").find_worker(TARGET) is None


def test_a_port_behind_the_proxy_protocol_is_unproven(tmp_path: Path) -> None:
    """With the line of its `listen`; written as the fix says it is looked at, and the other port either way."""
    text = "http {\n  server {\n    listen 8443 ssl;\n    listen [::]:443 ssl proxy_protocol;\n  }\n}\n"
    reader = _reader(tmp_path, text)
    kept, (fault,) = reader.split("nginx /a.crt", ["10.0.0.1:443", "10.0.0.1:8443"])
    finding = fault_found("lxc101", fault)
    assert (kept, finding.code) == (["10.0.0.1:8443"], "deploy.unproven")
    assert finding.culprit is not None
    assert (finding.culprit.file, finding.culprit.line) == (str(tmp_path / "nginx.conf"), 4)
    assert finding.explanation == (
        "nginx /a.crt: what 10.0.0.1:443 serves is unproven: nginx expects the PROXY protocol there"
        f" (line 4 of {tmp_path}/nginx.conf)."
    )
    as_told: list[Endpoint] = [ProofEndpoint(address="10.0.0.1:443", proxy_protocol=True)]
    assert reader.split("nginx /a.crt", as_told) == (as_told, [])


def test_a_stream_s_listen_is_another_s(tmp_path: Path) -> None:
    """`stream` passes the bytes on."""
    reader = _reader(tmp_path, "stream {\n  server {\n    listen 443 proxy_protocol;\n  }\n}\n")
    assert reader.split("nginx", ["10.0.0.1:443"]) == (["10.0.0.1:443"], [])
