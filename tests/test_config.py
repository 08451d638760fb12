"""Configuration: each mistake is one message with its key path."""

from pathlib import Path

import pytest

from certagent.config import ConfigurationError, load_agent, load_collector, load_policy

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


def test_it_misses_the_root(tmp_path: Path, good: str) -> None:
    """Trust is pinned to a file, so the file must be there."""
    (tmp_path / "root.crt").unlink()
    assert _message(tmp_path, good) == f"authority.root: {tmp_path / 'root.crt'} does not exist"


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
