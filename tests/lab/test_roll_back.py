"""`apply roll-back` and the collector's database: run as a shell script, on folders of its own, with every program that
it calls written down by stand-ins."""

import os
import subprocess
from pathlib import Path

import pytest

APPLY = Path(__file__).parents[2] / "deploy" / "lxc" / "apply.sh"
_PLACES = {
    "/opt/certagent": "opt",
    "/etc/certagent": "etc",
    "/usr/local/bin/certagent": "bin/certagent",
    "/etc/systemd/system": "units",
}


class Container:
    """Two releases, of which the newer is in place."""

    def __init__(self, folder: Path, older: str, newer: str) -> None:
        self.folder = folder
        for name, schema in (("old", older), ("new", newer)):
            package = folder / "opt" / "releases" / name / "certagent" / "certagent" / "collector" / "sql"
            package.mkdir(parents=True)
            (package / "database.py").write_text(f'"""A module."""\n\nREVISION = "{schema}"\n' if schema else "\n")
        for link, release in (("lib", "new"), ("previous", "old")):
            (folder / "opt" / link).symlink_to(f"releases/{release}")
        for made in ("bin", "etc", "units"):
            (folder / made).mkdir()
        (folder / "etc" / "collector.toml").touch()
        for program in ("systemctl", "runuser", "certagent", "getent"):
            self.stand_in(program, 0)

    def stand_in(self, program: str, status: int) -> None:
        """That program does nothing but write down its words."""
        file = self.folder / "bin" / program
        said = f'echo "{program} $*" >>"{self.folder}/calls"\necho "{program}: as told"\n'
        file.write_text(f"#!/bin/sh\n{said}exit {status}\n")
        file.chmod(0o755)

    def roll_back(self) -> "subprocess.CompletedProcess[str]":
        """As the installer runs it."""
        script = APPLY.read_text()
        for place, instead in _PLACES.items():
            script = script.replace(place, str(self.folder / instead))
        environment = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        command = ["sh", "-c", script, "apply", "roll-back"]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)

    def calls(self) -> list[str]:
        """What was called about the database."""
        lines = (self.folder / "calls").read_text().splitlines() if (self.folder / "calls").exists() else []
        return [
            line for line in lines if ("collector.service" in line and "stop" in line) or line.startswith("runuser")
        ]

    def release(self) -> str:
        """Which is in place."""
        return (self.folder / "opt" / "lib").readlink().name


def test_an_agent_that_has_no_token_yet_is_not_started(tmp_path: Path) -> None:
    """`certagent init --collector` configures it before the collector can give it one; what is to be done is said."""
    container = Container(tmp_path, "0006", "0006")
    token = tmp_path / "etc" / "token"
    (tmp_path / "etc" / "agent.toml").write_text(f'[collector]\ntoken_file = "{token}"  # refused\n')
    done = container.roll_back()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the agent here has no token yet: certagent enrol" in done.stdout
    assert "certagent-agent.service" not in (tmp_path / "calls").read_text()
    token.touch()
    done = container.roll_back()
    assert "has no token yet" not in done.stdout
    assert "systemctl restart certagent-agent.service" in (tmp_path / "calls").read_text()


def test_an_older_release_gets_the_database_from_before(tmp_path: Path) -> None:
    """While the collector is stopped, by its user, with the schema that the older one knows; before anything else."""
    container = Container(tmp_path, "0005", "0006")
    done = container.roll_back()
    assert done.returncode == 0, done.stdout + done.stderr
    program = tmp_path / "bin" / "certagent"
    assert container.calls() == [
        "systemctl stop certagent-collector.service",
        f"runuser -u certagent-collector -- {program} store go-back 0005",
    ]
    assert container.release() == "old"
    assert "runuser: as told" in done.stdout


def test_where_it_cannot_be_put_back_nothing_is_changed(tmp_path: Path) -> None:
    """The collector of the newer release runs on."""
    container = Container(tmp_path, "0005", "0006")
    container.stand_in("runuser", 1)
    done = container.roll_back()
    assert done.returncode == 1
    assert container.release() == "new"
    assert "systemctl start certagent-collector.service" in (tmp_path / "calls").read_text().splitlines()
    assert "runuser: as told" in done.stdout


@pytest.mark.parametrize(("older", "newer"), [("0006", "0006"), ("0006", "0005"), ("", "0006"), ("0005", "")])
def test_a_database_that_fits_is_left_alone(tmp_path: Path, older: str, newer: str) -> None:
    """Of the same schema, or an older one; or where that is not known."""
    container = Container(tmp_path, older, newer)
    assert container.roll_back().returncode == 0
    assert container.calls() == []
    assert container.release() == "old"


def test_a_node_without_a_collector_has_no_database(tmp_path: Path) -> None:
    """An agent alone."""
    container = Container(tmp_path, "0005", "0006")
    (tmp_path / "etc" / "collector.toml").unlink()
    assert container.roll_back().returncode == 0
    assert container.calls() == []


def test_a_debian_package_is_left_to_apt(tmp_path: Path) -> None:
    """The installer changes nothing where the package is; a container has one or the other."""
    container = Container(tmp_path, "0005", "0006")
    (tmp_path / "bin" / "dpkg-query").write_text("#!/bin/sh\nprintf installed\n")
    (tmp_path / "bin" / "dpkg-query").chmod(0o755)
    done = container.roll_back()
    assert done.returncode == 1
    assert "certagent is here as a Debian package" in done.stdout
    assert container.release() == "new"
