"""The certificates of HAProxy, Caddy, PostgreSQL and Postfix, as their configuration files have them."""

from pathlib import Path

import pytest

from certagent.config import ProofEndpoint
from certagent.vantage.service_pairs import FoundServices, ServicePair, find_services


def _etc(root: Path, file: str, text: str) -> None:
    path = root / "etc" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("ROOT", str(root)))


def _found(root: Path) -> FoundServices:
    reading = find_services(root)
    assert reading.unreadable == ()
    return reading.value


def _only(root: Path) -> ServicePair:
    (pair,) = _found(root).pairs
    return pair


def _shown(pair: ServicePair) -> list[str]:
    return [f"{one.address}{' PROXY' * one.proxy_protocol} {one.starttls or ''}".rstrip() for one in pair.endpoints]


def test_a_node_with_none_of_them_has_nothing(tmp_path: Path) -> None:
    """And nothing is said."""
    assert _found(tmp_path) == FoundServices()


# --- HAProxy ----------------------------------------------------------------------------------------------------------


def test_haproxys_files_and_folders(tmp_path: Path) -> None:
    """What a folder holds beside certificates is none; a list is left out and said."""
    certs = tmp_path / "certs"
    (certs / "folder").mkdir(parents=True)
    for name in ("a.pem", "b.pem", "b.pem.key", "a.pem.ocsp", ".hidden"):
        (certs / name).touch()
    binds = "bind [::]:443,10.0.0.3:8443,unix@/run/x.sock,/run/y.sock ssl crt ROOT/certs/\n bind :9 ssl crt-list /l.txt"
    _etc(tmp_path, "haproxy/haproxy.cfg", f"frontend f\n {binds}\n bind ::1:7000-7009 ssl crt ROOT/certs/a.pem\n")
    found = _found(tmp_path)
    assert [pair.certificate.name for pair in found.pairs] == ["a.pem", "b.pem"]
    assert _shown(found.pairs[0]) == ["[::]:443", "10.0.0.3:8443", "[::1]:7000"]
    assert found.pairs[0].only_watched is None
    assert found.pairs[1].only_watched == f"its key is in {certs}/b.pem.key: put both into one file first"
    assert found.left_out == (
        f"the certificates of HAProxy's crt-list /l.txt ({tmp_path}/etc/haproxy/haproxy.cfg:3): certagent does not"
        " read it",
    )


# --- Caddy ------------------------------------------------------------------------------------------------------------


def test_caddys_sites_with_files(tmp_path: Path) -> None:
    """The others it certifies by itself; snippets and plain sites are none."""
    _etc(
        tmp_path,
        "caddy/Caddyfile",
        "{\n  admin off\n}\n(common) {\n  encode gzip\n}\nhttp://old.internal {\n  redir https://a\n}\n"
        "a.internal:8443, b.internal:9443 {\n  import common\n  tls /etc/caddy/a.crt /etc/caddy/a.key {\n"
        "    protocols tls1.3\n  }\n}\nc.internal {\n  tls internal\n  reverse_proxy 127.0.0.1:80 {\n  }\n}\n",
    )
    pair = _only(tmp_path)
    assert (pair.certificate, pair.key) == (Path("/etc/caddy/a.crt"), Path("/etc/caddy/a.key"))
    assert _shown(pair) == ["*:8443", "*:9443"]
    assert pair.command[-1] == "--force"
    (said,) = _found(tmp_path).seen
    assert said.startswith("Caddy certifies 1 sites of ")


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


def test_the_last_of_a_setting_counts(tmp_path: Path) -> None:
    """Also where it is in conf.d; relative files are in the data's folder."""
    _etc(
        tmp_path,
        "postgresql/15/main/postgresql.conf",
        "data_directory = '/var/lib/postgresql/15/main'\t# where\nssl = off\nport = 5433\n"
        "ssl_cert_file 'a.crt'\n#ssl=off",
    )
    _etc(tmp_path, "postgresql/15/main/conf.d/tls.conf", "SSL = ON\nssl_key_file = '/etc/it''s.key'\n")
    pair = _only(tmp_path)
    assert pair.certificate == Path("/var/lib/postgresql/15/main/a.crt")
    assert pair.key == Path("/etc/it's.key")
    assert _shown(pair) == ["127.0.0.1:5433 postgres"]
    assert pair.command == ("systemctl", "reload", "postgresql@15-main")


@pytest.mark.parametrize("text", ["", "ssl = off\n", "# ssl = on\n", "ssl_cert_file = '/a'\n"])
def test_a_postgresql_without_tls_has_none(tmp_path: Path, text: str) -> None:
    """Off is the default."""
    _etc(tmp_path, "postgresql/15/main/postgresql.conf", text)
    assert _found(tmp_path) == FoundServices()


# --- Postfix ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("smtpd_tls_cert_file = /a.crt\nsmtpd_tls_key_file = /a.key\n", [("/a.crt", "/a.key")]),
        ("smtpd_tls_cert_file = ${config_directory}/a.pem\n", [("/etc/postfix/a.pem", "/etc/postfix/a.pem")]),
        ("smtpd_tls_chain_files =\n  /a.key,\n# or\n  /a.crt\nsmtpd_tls_cert_file = /no\n", [("/a.crt", "/a.key")]),
        ("smtpd_tls_chain_files = /r.key /r.crt, /e.key /e.crt\n", [("/r.crt", "/r.key"), ("/e.crt", "/e.key")]),
        ("smtpd_tls_chain_files = /both.pem\n", [("/both.pem", "/both.pem")]),
        ("smtpd_tls_cert_file = none\n", []),
        ("smtp_tls_cert_file = /client.crt\n", []),
    ],
)
def test_postfix_files(tmp_path: Path, text: str, files: list[tuple[str, str]]) -> None:
    """In each of the ways that its documentation has."""
    _etc(tmp_path, "postfix/main.cf", text)
    assert [(str(pair.certificate), str(pair.key)) for pair in _found(tmp_path).pairs] == files


def test_postfix_listens_as_master_cf_says(tmp_path: Path) -> None:
    """On which interfaces, main.cf does; at 465 TLS is there from the start."""
    _etc(tmp_path, "postfix/main.cf", "smtpd_tls_cert_file = /a\ninet_interfaces = 10.0.0.5, localhost\n")
    services = "smtp inet n - y\npickup unix n\nsubmissions inet n\n  -o a=b\n127.0.0.1:10025 inet n\n"
    services += "#127.0.0.1:submission inet n\n"
    _etc(tmp_path, "postfix/master.cf", services)
    assert _shown(_only(tmp_path)) == [
        "10.0.0.5:25 smtp",
        "127.0.0.1:25 smtp",
        "10.0.0.5:465",
        "127.0.0.1:465",
        "127.0.0.1:10025 smtp",
    ]


def test_debians_own_pair_is_not_to_be_replaced(tmp_path: Path) -> None:
    """A service that was only installed has it; the fix is said."""
    _etc(tmp_path, "postfix/main.cf", "smtpd_tls_cert_file=/etc/ssl/certs/ssl-cert-snakeoil.pem\n")
    assert _found(tmp_path) == FoundServices(
        left_out=(
            "postfix serves /etc/ssl/certs/ssl-cert-snakeoil.pem, which Debian makes for every service: name files of"
            f" its own in {tmp_path}/etc/postfix/main.cf, then run this again",
        )
    )


# --- odd files --------------------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_hides_no_other_service(tmp_path: Path) -> None:
    """It is told by its name."""
    (tmp_path / "etc/haproxy/haproxy.cfg").mkdir(parents=True)
    (tmp_path / "etc/haproxy/haproxy.cfg/x.cfg").symlink_to("/dev/zero")
    _etc(tmp_path, "postfix/main.cf", "smtpd_tls_cert_file = /a\n")
    reading = find_services(tmp_path)
    assert [pair.service for pair in reading.value.pairs] == ["postfix"]
    (unreadable,) = reading.unreadable
    assert unreadable.file == str(tmp_path / "etc/haproxy/haproxy.cfg/x.cfg")


@pytest.mark.parametrize(
    "file", ["haproxy/haproxy.cfg", "caddy/Caddyfile", "postgresql/15/main/postgresql.conf", "postfix/main.cf"]
)
@pytest.mark.parametrize("text", ["\0\0", "}\n}\n", "tls\nbind\n=\n", "frontend f\n bind x:y ssl crt\n", "  = a\n$\n"])
def test_what_is_no_configuration_is_no_service(tmp_path: Path, file: str, text: str) -> None:
    """And never an exception."""
    _etc(tmp_path, file, text)
    assert find_services(tmp_path).value.pairs == ()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("haproxy/haproxy.cfg", "frontend f\n bind 10.0.0.1:443 ssl crt /a\0b.pem\n"),
        ("postfix/main.cf", "smtpd_tls_cert_file = /a\0b.pem\nsmtpd_tls_key_file = /c.key\n"),
        ("postgresql/15/main/postgresql.conf", "ssl = on\nssl_cert_file = '/a.pem'\nssl_key_file = '/a\0b.key'\n"),
    ],
)
def test_a_name_with_a_nul_names_no_file(tmp_path: Path, file: str, text: str) -> None:
    """That is said, and the other services are found."""
    _etc(tmp_path, "caddy/Caddyfile", "a.test {\n  tls /a.crt /a.key\n}\n")
    _etc(tmp_path, file, text)
    reading = find_services(tmp_path)
    assert [pair.service for pair in reading.value.pairs] == ["caddy"]
    (unreadable,) = reading.unreadable
    assert (unreadable.file, unreadable.reason) == (
        str(tmp_path / "etc" / file),
        "it names a file by what is not a valid file name",
    )


def test_the_keys_rights_stay_as_they_are(tmp_path: Path) -> None:
    """As far as it is there."""
    key = tmp_path / "a.key"
    key.touch(0o640)
    key.chmod(0o640)
    _etc(tmp_path, "postfix/main.cf", "smtpd_tls_cert_file = /a\nsmtpd_tls_key_file = ROOT/a.key\n")
    pair = _only(tmp_path)
    assert (pair.mode, pair.owner is not None, pair.group is not None) == (0o640, True, True)
    assert pair.endpoints == (ProofEndpoint(address="*:25", starttls="smtp"),)
