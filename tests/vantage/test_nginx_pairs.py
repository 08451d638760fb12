"""nginx's pairs as its directives have them: names, inheritance, where it listens, and what is no pair of files."""

from pathlib import Path

import pytest

from certagent.vantage.nginx_pairs import NginxPair, NginxPairs, find_nginx, split_listen

PAIR = "ssl_certificate {0}.crt; ssl_certificate_key {0}.key;"


def _found(folder: Path, http: str, block: str = "http") -> NginxPairs:
    (folder / "nginx.conf").write_text(f"{block} {{\n{http}\n}}\n")
    return find_nginx(folder / "nginx.conf").value


def _only(found: NginxPairs) -> NginxPair:
    (pair,) = found.pairs
    return pair


@pytest.mark.parametrize(
    ("listen", "endpoint"),
    [
        ("443", ("*", 443)),
        ("*:8443", ("*", 8443)),
        ("0.0.0.0:443", ("*", 443)),
        ("10.0.0.12:443", ("10.0.0.12", 443)),
        ("10.0.0.12", ("10.0.0.12", 80)),
        ("[::]:443", ("[::]", 443)),
        ("[fd00::12]:8443", ("[fd00::12]", 8443)),
        ("[fd00::12]", ("[fd00::12]", 80)),
        ("localhost:443", ("localhost", 443)),
        ("localhost", ("localhost", 80)),
        ("8443-8445", ("*", 8443)),
        ("unix:/run/nginx.sock", ("unix:/run/nginx.sock", None)),
        ("$port", ("$port", None)),
        ("70000", ("*", None)),
    ],
)
def test_a_listen_line_is_split_as_nginx_does(listen: str, endpoint: tuple[str, int | None]) -> None:
    """The port is 80 where none is said."""
    assert split_listen(listen) == endpoint


@pytest.mark.parametrize(
    ("lines", "endpoints", "remark"),
    [
        ("listen 443 ssl;", ("*:443",), None),
        ("listen 443 ssl; listen [::]:443 ssl;", ("*:443", "[::]:443"), None),
        ("listen [::]:443 ssl ipv6only=off;", ("[::]:443", "*:443"), None),
        ("listen 10.0.0.12:8443 ssl; listen 80;", ("10.0.0.12:8443",), None),
        ("listen 443; ssl on;", ("*:443",), None),
        ("listen 443 ssl; listen 443 quic;", ("*:443",), "is UDP, so it is not proven"),
        ("listen 8443 ssl proxy_protocol;", (), "uses the PROXY protocol, so it is not proven"),
        ("listen unix:/run/x ssl;", (), "is not an address and port, so it is not proven"),
        ("listen 80;", (), "has no TLS listener"),
    ],
)
def test_a_pair_is_proven_where_nginx_speaks_tls_for_it(
    tmp_path: Path, lines: str, endpoints: tuple[str, ...], remark: str | None
) -> None:
    """And it is said where it is not."""
    pair = _only(_found(tmp_path, f"server {{ {lines} server_name a.test; {PAIR.format('a')} }}"))
    assert pair.endpoints == endpoints
    assert [remark is not None and remark in said for said in pair.remarks] == [True] * (remark is not None)


def test_a_socket_speaks_tls_for_all_of_its_servers(tmp_path: Path) -> None:
    """Whichever of them says so."""
    first = f"server {{ listen 443 ssl; server_name a.test; {PAIR.format('a')} }}"
    second = f"server {{ listen 443; server_name b.test; {PAIR.format('b')} }}"
    assert [pair.endpoints for pair in _found(tmp_path, first + second).pairs] == [("*:443",), ("*:443",)]


@pytest.mark.parametrize(
    ("written", "names", "remarks"),
    [
        ("a.test b.test", ("a.test", "b.test"), ()),
        (".home.test", ("home.test", "*.home.test"), ()),
        ("*.home.test WIKI.home.test", ("*.home.test", "wiki.home.test"), ()),
        (
            '_ "" 10.0.0.5',
            (),
            ("server_name 10.0.0.5 is an IP address, which is only taken from the certificate there",),
        ),
        (
            ".10.0.0.5",
            (),
            ("server_name .10.0.0.5 is an IP address, which is only taken from the certificate there",),
        ),
        (
            "[fd00::5]",
            (),
            ("server_name [fd00::5] is an IP address, which is only taken from the certificate there",),
        ),
        ("nas", (), ("server_name nas has no domain, so the CA cannot look it up",)),
        ("www.*", (), ("server_name www.* ends with a wildcard, which no certificate can be for",)),
        ("~^(.+)\\.test$", (), ("server_name ~^(.+)\\.test$ is a pattern, which no certificate can be for",)),
        ("$hostname", (), ("server_name $hostname is a variable, whose value only nginx knows",)),
        ("a_b.test", (), ("server_name a_b.test has an underscore, which host names must not have: 'a_b'",)),
    ],
)
def test_names_are_taken_or_left_out_with_the_reason(
    tmp_path: Path, written: str, names: tuple[str, ...], remarks: tuple[str, ...]
) -> None:
    """Catch-alls name nothing, and need no word."""
    pair = _only(_found(tmp_path, f"server {{ listen 443 ssl; server_name {written}; {PAIR.format('a')} }}"))
    assert (pair.names, pair.remarks) == (names, remarks)


def test_a_pair_of_the_block_is_inherited_by_servers_with_tls_alone(tmp_path: Path) -> None:
    """One of a server's own keeps it away; a plain server has none."""
    servers = "server { listen 443 ssl; server_name a.test; } server { listen 80; server_name b.test; }"
    own = f"server {{ listen 443 ssl; server_name c.test; {PAIR.format('c')} }}"
    found = _found(tmp_path, f"{PAIR.format('w')} {servers} {own}")
    assert [(pair.certificate.name, pair.names) for pair in found.pairs] == [
        ("w.crt", ("a.test",)),
        ("c.crt", ("c.test",)),
    ]
    assert found.pairs[0].certificate == tmp_path / "w.crt"


def test_two_pairs_of_one_server_are_two(tmp_path: Path) -> None:
    """RSA beside ECDSA."""
    text = f"server {{ listen 443 ssl; server_name a.test; {PAIR.format('ec')} {PAIR.format('rsa')} }}"
    found = [(pair.certificate.name, pair.key.name, pair.names) for pair in _found(tmp_path, text).pairs]
    assert found == [("ec.crt", "ec.key", ("a.test",)), ("rsa.crt", "rsa.key", ("a.test",))]


@pytest.mark.parametrize(
    ("certificate", "key", "reason"),
    [
        ("data:$pem", "data:$key", "the pair is in a variable, not in a file"),
        ("a.crt", "engine:pkcs11:x", "the key is in a hardware module, not in a file"),
        ("a.crt", "store:pkcs11:x", "the key is in a key store, not in a file"),
        ("/ssl/$ssl_server_name.crt", "/ssl/$ssl_server_name.key", "it contains a variable"),
    ],
)
def test_what_is_no_file_is_left_out_with_the_reason(tmp_path: Path, certificate: str, key: str, reason: str) -> None:
    """And with its place."""
    text = (
        f"server {{ listen 443 ssl; server_name a.test;\nssl_certificate {certificate}; ssl_certificate_key {key}; }}"
    )
    found = _found(tmp_path, text)
    assert found.pairs == ()
    (said,) = found.left_out
    assert said.startswith(f"{certificate} for a.test ({tmp_path}/nginx.conf:3): {reason}")


def test_a_stream_servers_pair_is_found(tmp_path: Path) -> None:
    """On its port; its names are the certificate's business."""
    text = f"server {{ listen 8883 ssl; {PAIR.format('mq')} proxy_pass 127.0.0.1:1883; }}"
    pair = _only(_found(tmp_path, text, "stream"))
    assert (pair.names, pair.endpoints) == ((), ("*:8883",))


def test_without_nginx_there_is_nothing(tmp_path: Path) -> None:
    """And nothing is said."""
    reading = find_nginx(tmp_path / "nginx.conf")
    assert (reading.value, reading.unreadable) == (NginxPairs(), ())
