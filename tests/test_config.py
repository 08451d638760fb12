"""Configuration: each mistake is one message with its key path."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from certagent.config import (
    ConfigurationError,
    ProofEndpoint,
    Rfc2136Solver,
    load_agent,
    load_collector,
    load_policy,
    read_token,
)

GOOD = """
[agent]
name = "lxc102"

[authority]
directory = "https://ca.internal:9000/acme/acme/directory"
root = "{root}"
addresses = ["10.0.0.10"]

[collector]
url = "https://collector.internal:8843"
token_file = "{token}"

[[certificate]]
name = "traefik"
identifiers = ["traefik.internal"]
solver = {{ kind = "listener", listen = "127.0.0.1:5002" }}

[[certificate.deploy]]
kind = "traefik"
dynamic = "{folder}"
prove = ["10.0.0.12:443"]
"""


@pytest.fixture
def good(tmp_path: Path) -> str:
    """A configuration whose files exist."""
    (tmp_path / "root.crt").write_text("root")
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(0o600)
    return GOOD.format(root=tmp_path / "root.crt", token=tmp_path / "token", folder=tmp_path)


def _message(tmp_path: Path, text: str) -> str:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_agent(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_it_reads_the_contracts_keys(tmp_path: Path, good: str) -> None:
    """What the README prints is what is read."""
    path = tmp_path / "agent.toml"
    path.write_text(good)
    settings = load_agent(path)
    assert settings.certificate[0].identifiers == ("traefik.internal",)
    assert settings.certificate[0].deploy[0].prove == ("10.0.0.12:443",)
    assert settings.certificate[0].key == "ecdsa-p256"
    path.write_text(
        good.replace('"10.0.0.12:443"', '"[::1]:443", { address = "10.0.0.12:443", proxy_protocol = true }')
    )
    (target,) = load_agent(path).certificate[0].deploy
    assert target.prove == ("[::1]:443", ProofEndpoint(address="10.0.0.12:443", proxy_protocol=True))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "lxc102"', 'nmae = "lxc102"', "agent.nmae: there is no such key"),
        ('name = "lxc102"', "", "agent.name: is missing"),
        ('name = "lxc102"', "name = 3", "agent.name: expected `str`, got `int`"),
        ("https://ca", "http://ca", "authority.directory: must be an https URL"),
        ('["10.0.0.10"]', '["ca.internal"]', "authority.addresses: 'ca.internal' is not an IP address"),
        ('kind = "traefik"', 'kind = "caddy"', "certificate[0].deploy[0].kind: invalid value 'caddy'"),
        ('"127.0.0.1:5002"', '"5002"', "certificate[0].solver.listen: '5002' is not address:port"),
        ('identifiers = ["traefik.internal"]', "identifiers = []", "certificate[0].identifiers: is empty"),
        (
            '"10.0.0.12:443"',
            '{ address = "10.0.0.12" }',
            "certificate[0].deploy[0].prove: '10.0.0.12' is not address:port",
        ),
        (
            '"10.0.0.12:443"',
            '{ address = "10.0.0.12:443", proxy = true }',
            "certificate[0].deploy[0].prove[0].proxy: there is no such key",
        ),
        (
            "[[certificate]]",
            '[[certificate]]\nroot = "/none"',
            "certificate[0].root: only for `manage = false`; else authority.root counts",
        ),
        (
            "[[certificate]]",
            '[[certificate]]\nroot = "/none"\nmanage = false',
            "certificate[0].root: /none does not exist",
        ),
        ("[agent]", "[agent", "is not TOML: Expected ']' at the end of a table declaration (at line 2, column 7)"),
    ],
)
def test_it_says_what_is_wrong_and_where(tmp_path: Path, good: str, old: str, new: str, message: str) -> None:
    """One bad key, one exact message."""
    assert old in good
    assert _message(tmp_path, good.replace(old, new, 1)) == message


def test_it_refuses_a_token_that_others_can_read(tmp_path: Path, good: str) -> None:
    """A token is a password."""
    (tmp_path / "token").chmod(0o644)
    token = tmp_path / "token"
    assert _message(tmp_path, good) == f"collector.token_file: {token} can be read by others; chmod 600 it"


@pytest.fixture
def nobody() -> Iterator[None]:
    """Whoever may not read root's files."""
    before = os.geteuid()
    os.seteuid(65534 if before == 0 else before)
    yield
    os.seteuid(before)


def test_a_token_that_may_not_be_read_is_said_so(tmp_path: Path, good: str, nobody: None) -> None:
    """In a sentence, to whoever is not root."""
    token = tmp_path / "token"
    if os.getuid() != 0:
        token.chmod(0)
    with pytest.raises(ConfigurationError) as caught:
        read_token(token, Path("agent.toml"))
    assert str(caught.value) == f"agent.toml: collector.token_file: {token} cannot be read: Permission denied"


def test_a_token_that_is_no_text_is_said_so(tmp_path: Path, good: str) -> None:
    """It never was one."""
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    assert _message(tmp_path, good) == f"collector.token_file: {tmp_path / 'token'} is not text"


def test_secrets_are_read_on_demand(tmp_path: Path, good: str, by_update: str) -> None:
    """Who asks neither the collector nor a zone's server needs none; all else is checked as ever."""
    path = tmp_path / "agent.toml"
    path.write_text(by_update)
    (tmp_path / "token").unlink()
    (tmp_path / "tsig").unlink()
    assert load_agent(path, with_secrets=False).certificate
    path.write_text(good.replace('name = "traefik"', 'name = "a b"'))
    with pytest.raises(ConfigurationError, match=r"certificate\[0\]\.name"):
        load_agent(path, with_secrets=False)


def test_it_misses_the_root(tmp_path: Path, good: str) -> None:
    """Trust is pinned to a file, so the file must be there."""
    (tmp_path / "root.crt").unlink()
    assert _message(tmp_path, good) == f"authority.root: {tmp_path / 'root.crt'} does not exist"


WEBHOOK = 'webhook = {{ url = "{url}", secret_file = "{file}" }}\n\n[[certificate]]\nname'


@pytest.mark.parametrize(
    ("url", "mode", "message"),
    [
        ("ntfy.example/us", 0o600, "url: must be an http or https URL"),
        ("https://ntfy.example/us", 0o644, "secret_file: {file} can be read by others; chmod 600 it"),
    ],
)
def test_it_checks_the_agents_own_webhook(tmp_path: Path, good: str, url: str, mode: int, message: str) -> None:
    """Where it says that the collector is gone."""
    file = tmp_path / "webhook-secret"
    file.write_text("s3cret")
    file.chmod(mode)
    text = good.replace("[[certificate]]\nname", WEBHOOK.format(url=url, file=file))
    assert _message(tmp_path, text) == "collector.webhook." + message.format(file=file)
    file.chmod(0o600)
    (tmp_path / "agent.toml").write_text(text.replace(url, "https://ntfy.example/us"))
    section = load_agent(tmp_path / "agent.toml").collector
    assert section is not None
    assert section.webhook is not None
    assert section.webhook.secret_file == file


RFC2136 = """
challenge = "dns-01"
solver = {{ kind = "rfc2136", server = "10.0.0.50", zone = "internal", key_name = "certagent", key_file = "{key}" }}
"""
LISTENER = 'solver = { kind = "listener", listen = "127.0.0.1:5002" }'


@pytest.fixture
def by_update(tmp_path: Path, good: str) -> str:
    """A configuration that answers dns-01 by dynamic update."""
    (tmp_path / "tsig").write_text("c2VjcmV0\n")
    (tmp_path / "tsig").chmod(0o600)
    return good.replace(LISTENER, RFC2136.format(key=tmp_path / "tsig"))


def test_it_reads_a_solver_for_each_challenge(tmp_path: Path, good: str, by_update: str) -> None:
    """The listener answers http-01 and tls-alpn-01, the dynamic update dns-01, wildcards too."""
    path = tmp_path / "agent.toml"
    path.write_text(good.replace(LISTENER, f'challenge = "tls-alpn-01"\n{LISTENER}'))
    assert load_agent(path).certificate[0].challenge == "tls-alpn-01"
    path.write_text(by_update.replace('["traefik.internal"]', '["*.internal", "internal"]'))
    solver = load_agent(path).certificate[0].solver
    assert solver == Rfc2136Solver(
        server="10.0.0.50", zone="internal", key_name="certagent", key_file=tmp_path / "tsig"
    )
    assert solver.key_algorithm == "hmac-sha256"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"dns-01"', '"dns-02"', "certificate[0].challenge: invalid enum value 'dns-02'"),
        (
            '"dns-01"',
            '"http-01"',
            'certificate[0].solver: http-01 is answered by kind = "listener|webroot|stateless", not by "rfc2136"',
        ),
        ('"10.0.0.50"', '"ns.internal"', "certificate[0].solver.server: 'ns.internal' is not an IP address"),
        ('zone = "internal"', "port = 0", "certificate[0].solver.port: 0 is no port"),
        (
            'zone = "internal"',
            'zone = "nal"',
            "certificate[0].solver.zone: 'traefik.internal' is not in the zone 'nal'",
        ),
        (
            'key_name = "certagent"',
            'key_name = "certagent", key_algorithm = "hmac-md5"',
            "certificate[0].solver.key_algorithm: invalid enum value 'hmac-md5'",
        ),
        (
            '["traefik.internal"]',
            '["10.0.0.12"]',
            "certificate[0].identifiers: '10.0.0.12' is an address, which dns-01 cannot prove",
        ),
    ],
)
def test_it_says_what_is_wrong_with_a_dynamic_update(
    tmp_path: Path, by_update: str, old: str, new: str, message: str
) -> None:
    """One bad key, one exact message."""
    assert old in by_update
    assert _message(tmp_path, by_update.replace(old, new, 1)) == message


def test_it_refuses_a_listener_for_dns(tmp_path: Path, good: str) -> None:
    """A port cannot answer a question to DNS."""
    text = good.replace(LISTENER, f'challenge = "dns-01"\n{LISTENER}')
    expected = 'certificate[0].solver: dns-01 is answered by kind = "rfc2136|exec", not by "listener"'
    assert _message(tmp_path, text) == expected


def test_it_refuses_a_wildcard_without_dns(tmp_path: Path, good: str) -> None:
    """RFC 8555 section 7.1.3: the CA would offer no other challenge."""
    text = good.replace('["traefik.internal"]', '["*.internal"]')
    expected = "certificate[0].identifiers: '*.internal' is a wildcard, which only dns-01 can prove"
    assert _message(tmp_path, text) == expected


def test_it_refuses_one_port_for_plain_http_and_tls(tmp_path: Path, good: str) -> None:
    """Two certificates may share a responder, but not one that would have to speak two languages."""
    second = f'\n[[certificate]]\nname = "two"\nidentifiers = ["two.internal"]\n{LISTENER}\n'
    (tmp_path / "agent.toml").write_text(good + second)
    assert len(load_agent(tmp_path / "agent.toml").certificate) == 2
    expected = "certificate[1].solver.listen: '127.0.0.1:5002' already answers http-01 for certificate 'traefik'"
    assert _message(tmp_path, good + second + 'challenge = "tls-alpn-01"\n') == expected


LINKED = """
[[certificate.deploy]]
kind = "{kind}"
certificate = "{folder}/{name}.crt"
key = "{folder}/{name}.key"
"""


@pytest.mark.parametrize("kind", ["nginx", "command"])
def test_it_refuses_two_targets_in_one_folder(tmp_path: Path, good: str, kind: str) -> None:
    """Of one certificate: a roll-back at one would put the other back, too. By whatever path the folder is named."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").symlink_to("one")
    first = LINKED.format(kind="nginx", folder=tmp_path / "one", name="a")
    (tmp_path / "agent.toml").write_text(good + first + LINKED.format(kind=kind, folder=tmp_path, name="b"))
    assert len(load_agent(tmp_path / "agent.toml").certificate[0].deploy) == 3
    for folder in (tmp_path / "one", tmp_path / "two"):
        expected = (
            f"certificate[0].deploy[2].certificate: {folder}/b.crt and {tmp_path}/one/a.crt are of one certificate and"
            " in one folder; give each a folder of its own"
        )
        assert _message(tmp_path, good + first + LINKED.format(kind=kind, folder=folder, name="b")) == expected


def test_two_services_may_read_one_pair(tmp_path: Path, good: str) -> None:
    """They go back together, and should."""
    both = [LINKED.format(kind=kind, folder=tmp_path, name="a") for kind in ("nginx", "command")]
    (tmp_path / "agent.toml").write_text(good + "".join(both))
    assert len(load_agent(tmp_path / "agent.toml").certificate[0].deploy) == 3


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0o600, "does not exist"),
        ("c2VjcmV0", 0o640, "can be read by others; chmod 600 it"),
        ('key "certagent" {};', 0o600, "is not base64 (the secret alone belongs there)"),
        ("\n", 0o600, "is empty"),
    ],
)
def test_it_refuses_a_key_file(tmp_path: Path, by_update: str, content: str | None, mode: int, said: str) -> None:
    """A TSIG secret is a password, and must be one."""
    key = tmp_path / "tsig"
    key.unlink() if content is None else key.write_text(content)
    if content is not None:
        key.chmod(mode)
    assert _message(tmp_path, by_update) == f"certificate[0].solver.key_file: {key} {said}"


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """The path is in the message."""
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: cannot be read: No such file or directory"):
        load_agent(tmp_path / "nowhere.toml")


def test_the_collector_wants_tls_except_on_loopback(tmp_path: Path) -> None:
    """Tokens travel on it."""
    path = tmp_path / "collector.toml"
    path.write_text('[server]\nlisten = "127.0.0.1:8843"\n')
    assert load_collector(path).server.certificate is None
    path.write_text('[server]\nlisten = "0.0.0.0:8843"\n')
    with pytest.raises(ConfigurationError, match=r"server\.certificate: TLS is needed except on loopback"):
        load_collector(path)


def test_a_policy_is_laid_over_the_default(tmp_path: Path) -> None:
    """What it does not say stays."""
    path = tmp_path / "policy.toml"
    path.write_text('[renewal]\nretry_first = "90s"\n[severity]\n"dns.nxdomain" = "info"\n')
    default, policy = load_policy(None), load_policy(path)
    assert policy.renewal.retry_first.total_seconds() == 90
    assert policy.renewal.due_after == default.renewal.due_after
    assert policy.severity["dns.nxdomain"] == "info"
    assert policy.severity["net.refused"] == "fatal"


def test_a_wrong_duration_is_said_so(tmp_path: Path) -> None:
    """With its key path, like everything else."""
    path = tmp_path / "policy.toml"
    path.write_text('[renewal]\nretry_first = "soon"\n')
    with pytest.raises(ConfigurationError, match=r"renewal\.retry_first: 'soon' is not a duration"):
        load_policy(path)


@pytest.mark.parametrize("url", ["mysql://certagent:s3cr3t@db/certagent", "certagent.db"])
def test_the_store_is_one_of_two(tmp_path: Path, url: str) -> None:
    """And a password in the URL is not repeated."""
    path = tmp_path / "collector.toml"
    path.write_text(f'[server]\nlisten = "127.0.0.1:8843"\n[store]\nurl = "{url}"\n')
    with pytest.raises(ConfigurationError, match="must begin with") as caught:
        load_collector(path)
    assert url not in str(caught.value)
    path.write_text(path.read_text().replace(url, "postgresql://certagent@db/certagent?passfile=/etc/certagent/pgpass"))
    assert load_collector(path).store.url.startswith("postgresql:")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"10.0.0.12:443"',
            '"10.0.0.12:65536"',
            "certificate[0].deploy[0].prove: '10.0.0.12:65536' is not address:port",
        ),
        ('"10.0.0.12:443"', '"10.0.0.12:0"', "certificate[0].deploy[0].prove: '10.0.0.12:0' is not address:port"),
        (
            '"10.0.0.12:443"',
            '"10.0.0.12:\uff1443"',
            "certificate[0].deploy[0].prove: '10.0.0.12:\uff1443' is not address:port",
        ),
        (
            '"10.0.0.12:443"',
            '"https://10.0.0.12:443"',
            "certificate[0].deploy[0].prove: 'https://10.0.0.12:443' is not address:port",
        ),
        (
            '"10.0.0.12:443"',
            '"fd00::12:443"',
            "certificate[0].deploy[0].prove: 'fd00::12:443' is not address:port (an IPv6 address goes in brackets)",
        ),
        (
            '"10.0.0.12:443"',
            '"wiki home:443"',
            "certificate[0].deploy[0].prove: 'wiki home:443': 'wiki home' contains a space or an invisible character",
        ),
        ('"127.0.0.1:5002"', '"*:5002"', "certificate[0].solver.listen: '*:5002': '*' has a wildcard elsewhere than"),
        ("ca.internal:9000", "ca.internal:90000", "authority.directory: 'https://ca.internal:90000/acme/acme/direc"),
        ("https://ca.internal", "https://-ca.internal", "authority.directory: 'https://-ca.internal:9000/acme/acme/d"),
        ("https://collector", "https://{{ collector }}", "collector.url: 'https://{{ collector }}.internal:8843' is"),
        ('name = "lxc102"', 'name = "lxc102"\nstate = "state"', "agent.state: 'state' is not an absolute path"),
        ('name = "lxc102"', 'name = "lxc102"\nstate = "/{{ x }}"', "agent.state: '/{{ x }}' is not a path of a file"),
        ('dynamic = "', 'dynamic = ".', "certificate[0].deploy[0].dynamic: 'tmp/"),
    ],
)
def test_ports_urls_and_paths_are_checked(tmp_path: Path, good: str, old: str, new: str, message: str) -> None:
    """Each with its key and what stands there."""
    assert old in good
    assert _message(tmp_path, good.replace(old, new, 1)).startswith(message)


@pytest.mark.parametrize(
    ("certificate", "message"),
    [
        ("ssl/a.crt", "'ssl/a.crt' is not an absolute path"),
        ("data:abc", "'data:abc' is not an absolute path"),
        ("~/a.crt", "'~/a.crt' is not an absolute path"),
        ("file:///etc/a.crt", "'file:/etc/a.crt' is not an absolute path"),
        ("/etc/${name}.crt", "'/etc/${name}.crt' is not a path of a file: it is a template, or damaged"),
        ("/etc", "/etc is a directory, not a file"),
    ],
)
def test_a_targets_files_are_checked(tmp_path: Path, good: str, certificate: str, message: str) -> None:
    """What nginx takes for something else than a path is none here."""
    text = good.replace('kind = "traefik"', f'kind = "nginx"\ncertificate = "{certificate}"\nkey = "/etc/ssl/a.key"')
    text = "\n".join(line for line in text.splitlines() if not line.startswith("dynamic"))
    assert _message(tmp_path, text) == f"certificate[0].deploy[0].certificate: {message}"


def test_an_ipv6_endpoint_goes_in_brackets(tmp_path: Path, good: str) -> None:
    """And is good then."""
    (tmp_path / "agent.toml").write_text(good.replace("10.0.0.12:443", "[fd00::12]:443"))
    assert load_agent(tmp_path / "agent.toml").certificate[0].deploy[0].prove == ("[fd00::12]:443",)
