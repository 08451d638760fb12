"""The command line as a person meets it: one sentence, and the right exit status."""

import json
import socket
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from certagent.cli import commands
from tests.certificates import Authority
from tests.warm import warm_certagent

NGINX = """
events {}
http {
    server {
        listen 443 ssl;
        server_name nginx.internal portainer.phoenix _;
        ssl_certificate ssl/gateway.crt;
        ssl_certificate_key ssl/gateway.key;
    }
}
"""
TRAEFIK = """
providers:
  file:
    directory: {folder}
"""
ROUTER = """
http:
  routers:
    portainer: {{rule: "Host(`portainer.internal`) || Host(`portainer.phoenix`)", service: x}}
"""


def _certagent(*words: str) -> "subprocess.CompletedProcess[str]":
    return warm_certagent().run(*words)


def test_a_wrong_configuration_is_one_sentence_and_two(tmp_path: Path) -> None:
    """With its key path; no traceback."""
    path = tmp_path / "agent.toml"
    path.write_text('[agent]\nname = "x"\nsocket = 3\n')
    for command in ("check", "renew", "status", "agent"):
        done = _certagent(command, "--config", str(path))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"certagent: {path}:3: agent.socket: expected a path, got 3\n"
        assert done.stderr.count("\n") == 1


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """A right one, whose agent does not run."""
    (tmp_path / "root.crt").write_text("root")
    path = tmp_path / "agent.toml"
    path.write_text(
        f'[agent]\nname = "x"\nsocket = "{tmp_path}/agent.sock"\n'
        f'[authority]\ndirectory = "https://ca:9000/acme/acme/directory"\nroot = "{tmp_path}/root.crt"\n'
    )
    return path


def test_an_agent_that_does_not_run_is_said_so(configuration: Path) -> None:
    """Exit status 1, and what to do."""
    done = _certagent("check", "--config", str(configuration))
    assert done.returncode == 1
    assert "the agent is not running" in done.stderr
    assert "systemctl start certagent-agent" in done.stderr


def test_what_works_alone_needs_no_token(configuration: Path) -> None:
    """Nor does it fail because of one that cannot be used: `trace` goes by what this node sees, and says why."""
    with configuration.open("a") as file:
        file.write(f'[collector]\nurl = "https://127.0.0.1:1"\ntoken_file = "{configuration.parent}/nowhere"\n')
    more = ("--config", str(configuration), "--json")
    hosts = configuration.parent / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    for words in (("resolve", "localhost"), ("lint",), ("whatif", "localhost", "--hosts", str(hosts))):
        done = _certagent(*words, *more)
        assert done.returncode in (0, 3, 4), done.stderr
        assert json.loads(done.stdout)
    traced = json.loads(_certagent("trace", "localhost", *more).stdout)
    assert traced["source"]["kind"] == "node"
    assert "collector.token_file" in traced["source"]["reason"]
    assert _certagent("check", *more).returncode == 2


def test_what_init_cannot_read_or_write_is_said(configuration: Path) -> None:
    """With the file and the reason; what is there already is another matter, and usage."""
    folder, more = configuration.parent, ("--root", str(configuration.parent / "none.crt"))
    authority = ("--directory", "https://127.0.0.1:1/acme/directory")
    below_a_file = _certagent("init", "--write", "--config", f"{configuration}/a.toml", *more, *authority)
    assert (below_a_file.returncode, below_a_file.stdout) == (1, "")
    assert below_a_file.stderr == f"certagent: {configuration} cannot be used: File exists\n"
    a_folder = _certagent("init", "--root", str(folder), "--config", str(folder / "new.toml"))
    assert (a_folder.returncode, a_folder.stdout) == (1, "")
    assert a_folder.stderr == f"certagent: {folder} cannot be used: Is a directory\n"
    there = _certagent("init", "--write", "--config", str(configuration), *more, *authority)
    assert there.returncode == 2
    assert f"{configuration} exists; certagent init overwrites nothing" in there.stderr


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["check"], 1),
        (["fix", "nosuchincident"], 1),
        (["resolve", "localhost", "--fleet"], 1),
        (["resolve"], 2),
        (["resolve", "a\udcffb"], 2),
        (["check", "a\udcffb"], 2),
        (["status", "--nosuch"], 2),
        (["fix", "--undo", "--apply"], 2),
        (["whatif", "localhost"], 2),
        (["init", "--write"], 2),
        (["status", "--config", "/nowhere/agent.toml"], 2),
        (["renw"], 2),
        (["token", "ad"], 2),
    ],
    ids=lambda value: ascii(" ".join(value)) if isinstance(value, list) else None,
)
def test_with_json_a_failure_is_a_document_too(configuration: Path, words: list[str], status: int) -> None:
    """Its sentence, which a person is told on standard error; without --json nothing is on standard output."""
    config = [] if "--config" in words else ["--config", str(configuration)]
    done = _certagent(*words, *config, "--json")
    assert done.returncode == status, done.stderr
    document = json.loads(done.stdout)
    assert list(document) == ["error"]
    assert document["error"] in done.stderr
    assert "Traceback" not in done.stderr
    plain = _certagent(*words, *config)
    assert (plain.returncode, plain.stdout) == (status, "")


def test_a_port_that_is_taken_is_said_so(tmp_path: Path) -> None:
    """By the collector that cannot listen there: one sentence, exit status 1."""
    path = tmp_path / "collector.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        path.write_text(f'[server]\nlisten = "{listen}"\n[store]\nurl = "sqlite:///{tmp_path}/collector.db"\n')
        done = _certagent("collector", "--config", str(path))
    assert done.returncode == 1
    assert f"certagent: the collector cannot listen on {listen}: " in done.stderr
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_command_is_usage() -> None:
    """2, as everywhere; with what was probably meant."""
    for words, said in (
        (("renw",), "no such command: renw; did you mean renew?"),
        (("token", "ad"), "no such command: ad; did you mean add?"),
        (("help", "chek"), "no such command: chek; did you mean check?"),
        (("xyzzy",), "no such command: xyzzy; `certagent --help` lists them"),
    ):
        done = _certagent(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


GROUPS = [(), *((name,) for name, command in commands.commands.items() if isinstance(command, click.Group))]


@pytest.mark.parametrize("group", GROUPS, ids=" ".join)
def test_alone_a_group_shows_its_help(group: tuple[str, ...]) -> None:
    """As `help` and --help do: on standard output, exit status 0."""
    alone, helped, asked = _certagent(*group), _certagent("help", *group), _certagent(*group, "--help")
    assert alone.stdout.startswith(f"Usage: {' '.join(('certagent', *group))} [OPTIONS] COMMAND")
    assert alone.stdout == helped.stdout == asked.stdout
    assert [(done.returncode, done.stderr) for done in (alone, helped, asked)] == [(0, "")] * 3


def test_help_is_of_any_command() -> None:
    """Of those in a group, too."""
    for words in (("check",), ("token", "add")):
        assert _certagent(*words[:-1], "help", words[-1]).stdout == _certagent(*words, "--help").stdout
        done = _certagent("help", *words)
        assert (done.returncode, done.stdout) == (0, _certagent(*words, "--help").stdout)
        assert done.stdout.startswith(f"Usage: certagent {' '.join(words)} ")


@pytest.mark.parametrize("group", GROUPS, ids=" ".join)
def test_the_summaries_fit_eighty_columns_whole(group: tuple[str, ...]) -> None:
    """Nothing is cut off."""
    shown = CliRunner().invoke(commands, [*group, "--help"], terminal_width=80).output
    assert "..." not in shown.replace("[ARGS]...", "")
    assert max(map(len, shown.splitlines())) <= 80


def test_a_collector_that_cannot_be_reached_is_said_in_plain_words(configuration: Path) -> None:
    """Not in those of a library."""
    with configuration.open("a") as file:
        file.write(f'[collector]\nurl = "https://127.0.0.1:1"\ntoken_file = "{configuration.parent}/token"\n')
    (configuration.parent / "token").write_text("secret")
    (configuration.parent / "token").chmod(0o600)
    Authority().write_root(configuration.parent / "root.crt")
    done = _certagent("resolve", "localhost", "--fleet", "--config", str(configuration))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "certagent: the collector at https://127.0.0.1:1 cannot be reached: nothing listens there\n"
