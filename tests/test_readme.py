"""What the README prints is what works: both configurations, every command, every path."""

import re
import tomllib
from pathlib import Path

import pytest

from certagent.cli import commands
from certagent.config import load_agent, load_collector, load_policy

TREE = Path(__file__).parents[1]
README = (TREE / "README.md").read_text(encoding="utf-8")


def _block(path: str) -> str:
    (block,) = (one for one in re.findall(r"```toml\n(.*?)```", README, re.DOTALL) if one.startswith(f"# {path}\n"))
    return str(block)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """The files that the configuration names, elsewhere."""
    (tmp_path / "etc/certagent").mkdir(parents=True)
    (tmp_path / "etc/traefik/dynamic").mkdir(parents=True)
    (tmp_path / "etc/certagent/root_ca.crt").write_text("root")
    (tmp_path / "etc/certagent/token").write_text("token")
    (tmp_path / "etc/certagent/token").chmod(0o600)
    return tmp_path


def _moved(text: str, house: Path) -> str:
    return text.replace('"/etc/', f'"{house}/etc/')


def test_the_agents_configuration_is_read(house: Path) -> None:
    """Together with nginx's target and the section beside the CA, which stand in blocks of their own."""
    parts = [one for one in re.findall(r"```toml\n(.*?)```", README, re.DOTALL) if "collector.toml" not in one]
    assert len(parts) == 4
    path = house / "agent.toml"
    path.write_text(_moved("\n".join(parts), house))
    settings = load_agent(path)
    assert [target.prove for target in settings.certificate[0].deploy] == [
        ("10.0.0.12:443",),
        ("10.0.0.153:443",),
        ("10.0.0.20:5432",),
    ]
    assert settings.vantage is not None


def test_the_collectors_configuration_is_read(house: Path) -> None:
    """As the lab installs it."""
    path = house / "collector.toml"
    path.write_text(_moved(_block("/etc/certagent/collector.toml"), house))
    assert load_collector(path).channel[0].kind == "webhook"
    assert tomllib.loads(_block("/etc/certagent/agent.toml"))["agent"]["name"] == "lxc102"


def test_every_command_of_the_table_exists_and_every_command_is_in_it() -> None:
    """The table is the contract's, as far as it is built."""
    table = README.partition("## Commands")[2].partition("## ")[0]
    named = set(re.findall(r"`certagent (\w+)", table)) | {"collector"}
    assert named == set(commands.commands)


def test_the_first_container_needs_nothing_that_no_step_makes() -> None:
    """Each token file comes from a step before; the root is confirmed without a terminal."""
    steps = README.partition("in ten minutes\n")[2].partition("\n**Upgrading")[0]
    made: set[str] = set()
    for line in steps.splitlines():
        assert set(re.findall(r"--token (\S+)", line)) <= made, line
        made |= set(re.findall(r"> (token-\w+)", line))
    assert made == {"token-lxc102", "token-lxc103", "token-lxc104"}
    assert re.search(r"certagent init [^#]*--fingerprint HEX --write\n", steps)
    assert steps.index("certagent init") < steps.index("complete `[collector]`") < steps.index("102 --role agent")


def test_the_pictures_are_there_and_small() -> None:
    """Taken by tests/e2e/screenshots/run; each has words for who cannot see it."""
    pictures = re.findall(r"!\[(.+)\]\((.+)\)", README)
    assert {path.rpartition("/")[2] for _, path in pictures} == {"overview.webp", "incident.webp", "path.webp"}
    for words, path in pictures:
        assert len(words) > 40
        assert (TREE / path).read_bytes()[8:12] == b"WEBP"
        assert (TREE / path).stat().st_size < 150_000


def test_every_path_of_the_tree_that_is_named_exists() -> None:
    """A newcomer follows them."""
    paths = set(re.findall(r"(?:\./)?((?:deploy|tests|policies)/[\w./-]+)", README))
    assert {"deploy/quickstart", "tests/run"} <= paths
    for path in paths:
        assert (TREE / path.rstrip(".")).exists(), path


def test_every_graded_code_is_explained_with_its_severity() -> None:
    """Exactly the codes of the policy, in its order, and no other severity than there."""
    section = README.partition("## Findings\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| `")]
    listed = {code.strip("`"): severity for code, _, severity, _ in rows}
    graded = {
        code: ", ".join(f"{one} ({who})" for who, one in entry.items()) if isinstance(entry, dict) else str(entry)
        for code, entry in load_policy(None).severity.items()
    }
    assert listed == graded
    assert all(meaning and fix for _, meaning, _, fix in rows)


def test_the_comparison_has_no_gap_and_says_where_we_are_behind() -> None:
    """A cell for everybody in every row, and ours in bold in some."""
    section = README.partition("## Beside the others\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    assert len(head) == 9
    assert all(len(row) == len(head) and all(row) for row in rows)
    assert [row[0] for row in rows if row[1].startswith("**")] == ["DNS providers", "runs on", "in wide use"]
