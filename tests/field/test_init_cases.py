"""The field's cases of `certagent init`, and of what agent.toml may say: what is written loads, and nothing is lost."""

from pathlib import Path

import pytest

from certagent.config import ConfigurationError, load_agent
from tests.certificates import Authority
from tests.field.tree import CASES, Tree

GOOD_NAMES = ("wiki.home.test", "WIKI.home.test", "10.0.0.5", "xn--mll-hoa.home.test")
SETTINGS = """[agent]
name = "lxc102"
[authority]
directory = "https://ca.home.test:9000/acme/acme/directory"
root = "{root}"
[[certificate]]
name = "a"
identifiers = ["home.test", "{identifier}"]
solver = {{ kind = "listener", listen = "127.0.0.1:5002" }}
"""


def _identifiers() -> list[str]:
    return (CASES / "32-config-identifiers" / "identifiers.txt").read_text().splitlines()


@pytest.mark.parametrize("identifier", _identifiers())
def test_32_what_is_no_identifier_is_refused_with_its_key(tmp_path: Path, identifier: str) -> None:
    """In one sentence that shows it; the last four are good."""
    Authority().write_root(tmp_path / "root.crt")
    (tmp_path / "agent.toml").write_text(SETTINGS.format(root=tmp_path / "root.crt", identifier=identifier))
    if identifier in GOOD_NAMES:
        assert load_agent(tmp_path / "agent.toml").certificate[0].identifiers[1] == identifier
        return
    with pytest.raises(ConfigurationError) as refused:
        load_agent(tmp_path / "agent.toml")
    assert str(refused.value).startswith(f"{tmp_path}/agent.toml: certificate[0].identifiers: {identifier!r} ")


def test_32_the_last_four_are_the_good_ones() -> None:
    """As the story says."""
    assert tuple(_identifiers()[-4:]) == GOOD_NAMES


def test_32_a_refused_configuration_is_exit_status_2(tmp_path: Path) -> None:
    """Of the agent itself."""
    tree = Tree(tmp_path)
    folder = tmp_path / "etc" / "certagent"
    folder.mkdir(parents=True)
    Authority().write_root(folder / "root_ca.crt")
    text = SETTINGS.format(root="/etc/certagent/root_ca.crt", identifier="wiki.home.test:8443")
    (folder / "agent.toml").write_text(text)
    done = tree.certagent("agent", "--config", "/etc/certagent/agent.toml")
    assert (done.returncode, "certificate[0].identifiers: 'wiki.home.test:8443'" in done.stderr) == (2, True)


def test_35_a_watched_wildcard_is_accepted(tmp_path: Path) -> None:
    """It is proven by dns-01, whatever is not said; refused only where certagent is to renew it otherwise."""
    text = (CASES / "35-watch-wildcard" / "agent.toml").read_text()
    Authority().write_root(tmp_path / "root.crt")
    text = text.replace("/etc/certagent/root_ca.crt", str(tmp_path / "root.crt"))
    (tmp_path / "agent.toml").write_text(text)
    (watched,) = load_agent(tmp_path / "agent.toml").certificate
    assert (watched.manage, watched.challenge, watched.identifiers) == (False, "dns-01", ("*.home.test", "home.test"))
    solver = 'manage = true\nsolver = { kind = "listener", listen = "127.0.0.1:5002" }'
    (tmp_path / "agent.toml").write_text(text.replace("manage = false", solver))
    with pytest.raises(ConfigurationError, match="a wildcard, which only dns-01 can prove"):
        load_agent(tmp_path / "agent.toml")
