"""Configuration: each mistake is one message with its key path."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from certagent.config import ConfigurationError, ProofEndpoint, Rfc2136Solver, load_agent, load_collector, read_token
from certagent.config.policy_files import load_policy

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
    error = caught.value
    assert "\n" not in str(error)
    assert str(error) == (f"{path}:{error.line}: " if error.line else f"{path}: ") + error.message
    return error.message


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
        ('name = "lxc102"', 'nmae = "lxc102"', "agent.nmae: unknown key; did you mean name?"),
        ('name = "lxc102"', "", "agent.name: is missing"),
        ('name = "lxc102"', "name = 3", "agent.name: must be a string, not an integer"),
        ("https://ca", "http://ca", "authority.directory: must be an https URL"),
        ('["10.0.0.10"]', '["ca.internal"]', "authority.addresses: 'ca.internal' is not an IP address"),
        ('["10.0.0.10"]', '["10.0.0.10:9000"]', "authority.addresses: '10.0.0.10:9000' is not an IP address"),
        (
            "token_file",
            'addresses = ["10.0.0.104", "10.0.0.105:8843", "[::1]:99999"]\ntoken_file',
            "collector.addresses: '[::1]:99999' is neither an IP address nor address:port",
        ),
        (
            'kind = "traefik"',
            'kind = "caddy"',
            "certificate[0].deploy[0].kind: invalid value 'caddy' (allowed: nginx, traefik, haproxy, command)",
        ),
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
            "certificate[0].deploy[0].prove[0].proxy: unknown key (allowed: address, proxy_protocol, starttls)",
        ),
        (
            '"10.0.0.12:443"',
            '{ address = "10.0.0.12:443", starttls = "http" }',
            "certificate[0].deploy[0].prove[0].starttls: invalid value 'http' (allowed: ftp, imap, ldap, lmtp,"
            " mysql, nntp, pop3, postgres, sieve, smtp, xmpp, xmpp-server)",
        ),
        (
            "[[certificate]]",
            '[[certificate]]\nroot = "/none"',
            "certificate[0].root: only allowed with `manage = false`; otherwise authority.root is used",
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


@pytest.mark.parametrize("written", ['"{0}/a.crt"', '["{0}/a.crt"]', '["{0}/a.crt", "{0}/b.crt"]'])
def test_one_root_or_several(tmp_path: Path, good: str, written: str) -> None:
    """A string, or an array of strings."""
    for name in ("a.crt", "b.crt"):
        (tmp_path / name).write_text("root")
    text = good.replace(f'root = "{tmp_path}/root.crt"', f"root = {written.format(tmp_path)}", 1)
    (tmp_path / "agent.toml").write_text(text)
    roots = load_agent(tmp_path / "agent.toml").authority.root
    assert [root.name for root in roots] == ["a.crt", "b.crt"][: written.count(".crt")]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("[]", "authority.root: is empty"),
        ('["/a.crt", "b.crt"]', "authority.root[1]: 'b.crt' is not an absolute path"),
        ('["/nowhere/a.crt"]', "authority.root: /nowhere/a.crt does not exist"),
        ("5", "authority.root: expected a path or an array of paths, got 5"),
        ("[5]", "authority.root: expected a path or an array of paths, got [5]"),
    ],
)
def test_roots_that_cannot_be_used(tmp_path: Path, good: str, written: str, message: str) -> None:
    """In a sentence."""
    text = good.replace(f'root = "{tmp_path}/root.crt"', f"root = {written}", 1)
    assert _message(tmp_path, text) == message


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
        (
            '"dns-01"',
            '"dns-02"',
            "certificate[0].challenge: invalid value 'dns-02' (allowed: dns-01, http-01, tls-alpn-01)",
        ),
        (
            '"dns-01"',
            '"http-01"',
            'certificate[0].solver: http-01 needs kind = "listener|webroot|stateless", not "rfc2136"',
        ),
        ('"10.0.0.50"', '"ns.internal"', "certificate[0].solver.server: 'ns.internal' is not an IP address"),
        ('zone = "internal"', "port = 0", "certificate[0].solver.port: 0 is not a valid port"),
        (
            'zone = "internal"',
            'zone = "nal"',
            "certificate[0].solver.zone: 'traefik.internal' is not in the zone 'nal'",
        ),
        (
            'key_name = "certagent"',
            'key_name = "certagent", key_algorithm = "hmac-md5"',
            "certificate[0].solver.key_algorithm: invalid value 'hmac-md5'"
            " (allowed: hmac-sha224, hmac-sha256, hmac-sha384, hmac-sha512)",
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
    expected = 'certificate[0].solver: dns-01 needs kind = "rfc2136|exec", not "listener"'
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
            f"certificate[0].deploy[2].certificate: {folder}/b.crt and {tmp_path}/one/a.crt belong to one certificate"
            " and are in one folder; put each into a separate folder"
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
        ('key "certagent" {};', 0o600, "is not base64 (the file must contain the secret only)"),
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
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: does not exist; `certagent init --write` makes one$"):
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
        ('name = "lxc102"', 'name = "lxc102"\nstate = "/{{ x }}"', "agent.state: '/{{ x }}' is not a file path"),
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
        ("/etc/${name}.crt", "'/etc/${name}.crt' is not a file path: it is a template, or damaged"),
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


def _mistake(tmp_path: Path, good: str, old: str, new: str) -> tuple[int | None, str]:
    assert old in good
    path = tmp_path / "agent.toml"
    path.write_text(good.replace(old, new, 1))
    with pytest.raises(ConfigurationError) as caught:
        load_agent(path)
    return caught.value.line, caught.value.message


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('name = "lxc102"', '# who\nnmae = "lxc102"', 4),
        ('name = "lxc102"', "", 2),
        ("[agent]", "[agnet]", 2),
        ("https://ca", "http://ca", 6),
        ('["10.0.0.10"]', '[\n  "10.0.0.10",\n  "ca.internal",\n]', 8),
        ('["10.0.0.12:443"]', '[\n "10.0.0.12:443",\n { address = "10.0.0.12:443", proxy = true }]', 24),
        ('"127.0.0.1:5002"', '"5002"', 17),
        ('[[certificate]]\nname = "traefik"', '[[certificate]]\nname = "a b"', 15),
        ("[[certificate]]\nname", '[[certificate]]\r\nlifetime = "long"\r\nname', 15),
        ("[agent]", "[agent", 2),
        ("prove", "prove = 1\nprove", 23),
    ],
)
def test_a_mistake_has_its_line(tmp_path: Path, good: str, old: str, new: str, place: int) -> None:
    """Of the key itself, or of the table that it should be in; of an array, of the item, or of the key."""
    assert _mistake(tmp_path, good, old, new)[0] == place


def test_a_mistake_without_a_place_has_no_line(tmp_path: Path) -> None:
    """There is nothing of it in the file."""
    (tmp_path / "agent.toml").write_text("# nothing\n")
    with pytest.raises(ConfigurationError) as caught:
        load_agent(tmp_path / "agent.toml")
    assert str(caught.value) == f"{tmp_path}/agent.toml: agent: is missing"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[agent]", "[agnet]", "agnet: unknown key; did you mean agent?"),
        ("[[certificate]]", "[[certificates]]", "certificates: unknown key; did you mean certificate?"),
        (
            'name = "lxc102"',
            'name = "lxc102"\nnameservers = ["10.0.0.153"]',
            "agent.nameservers: unknown key; it belongs in [dns]",
        ),
        (
            'name = "lxc102"',
            'name = "lxc102"\nverbose = true',
            "agent.verbose: unknown key (allowed: name, state, policy, role, socket)",
        ),
        (
            'kind = "traefik"\n',
            'kind = "traefik"\ndynamik = "/etc/traefik"\n',
            "certificate[0].deploy[0].dynamik: unknown key; did you mean dynamic?",
        ),
        (
            'kind = "listener", listen',
            'kind = "listener", lisen',
            "certificate[0].solver.lisen: unknown key; did you mean listen?",
        ),
        (
            'kind = "listener", ',
            "",
            "certificate[0].solver.kind: is missing (allowed: listener, webroot, stateless, rfc2136, exec)",
        ),
        ('["traefik.internal"]', '"traefik.internal"', "certificate[0].identifiers: must be an array, not a string"),
        ('["traefik.internal"]', "[1]", "certificate[0].identifiers[0]: must be a string, not an integer"),
        (
            'name = "traefik"',
            'name = "traefik"\nmanage = "no"',
            "certificate[0].manage: must be true or false, not a string",
        ),
        (
            'name = "traefik"',
            'name = "traefik"\nkey = "rsa"',
            "certificate[0].key: invalid value 'rsa' (allowed: ecdsa-p256, ecdsa-p384, ed25519, rsa-2048, rsa-4096)",
        ),
        ("[agent]", "dns = 1\n[agent]", "dns: must be a table, not an integer"),
    ],
)
def test_a_mistake_says_what_was_meant_or_may_be(tmp_path: Path, good: str, old: str, new: str, message: str) -> None:
    """The nearest key, the section that it belongs in, or what is allowed there."""
    assert _mistake(tmp_path, good, old, new)[1].lower() == message.lower()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            '[renewal]\ndue_after = 0.5\nretry_frist = "90s"',
            3,
            "renewal.retry_frist: unknown key; did you mean",
        ),
        (
            '[severity]\n"dns.nxdomain" = "bad"',
            2,
            "severity['dns.nxdomain']: invalid value 'bad' (allowed: fatal, error, warn, info)",
        ),
        ('[alerts.all]\ncodes = "*"', 1, "alerts[...].codes: must be an array, not a string"),
        ('[alerts.all]\ncode = ["*"]', 1, "alerts[...].code: unknown key; did you mean codes?"),
        ("[renewal", 1, "is not TOML: "),
    ],
)
def test_a_mistake_in_a_policy_likewise(tmp_path: Path, text: str, line: int, message: str) -> None:
    """Of the file that is laid over, not of the default policy."""
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_policy(path)
    assert (caught.value.path, caught.value.line) == (path, line)
    assert caught.value.message.startswith(message)


def test_a_missing_file_names_the_command_that_makes_it(tmp_path: Path) -> None:
    """That of the collector likewise."""
    with pytest.raises(ConfigurationError) as caught:
        load_collector(tmp_path / "collector.toml")
    assert str(caught.value) == (
        f"{tmp_path}/collector.toml: does not exist; `certagent init --collector --write` makes one"
    )
