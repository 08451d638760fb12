"""A Traefik that is configured by its environment alone: the variables of a process that really runs."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certagent.vantage.foreign_files import Notes
from certagent.vantage.traefik_files import load_dynamic, load_static, other_providers, provider_files
from tests.e2e.fleet import until

ROUTERS = "http:\n  routers:\n    a: {rule: Host(`a.home.test`), service: s}\n"


@contextmanager
def _running(*flags: str, **environment: str) -> Iterator[Path]:
    """/proc's file of the command line of a process with these flags and this environment; it waits for its end. The
    kernel shows neither for a moment after the start."""
    with tempfile.NamedTemporaryFile("w") as script:
        script.write("read word\n")
        script.flush()
        command = ["sh", script.name, *flags]
        with subprocess.Popen(command, env={"PATH": "/usr/bin:/bin", **environment}, stdin=subprocess.PIPE) as process:
            of_process = Path("/proc") / str(process.pid)
            until("it is shown", 10, lambda: b"PATH=" in (of_process / "environ").read_bytes())
            yield of_process / "cmdline"


def _environment(dynamic: Path) -> dict[str, str]:
    return {
        "TRAEFIK_ENTRYPOINTS_WEB_ADDRESS": ":80",
        "TRAEFIK_ENTRYPOINTS_websecure_ADDRESS": ":443",
        "TRAEFIK_PROVIDERS_FILE_DIRECTORY": str(dynamic),
        "TRAEFIK_PROVIDERS_DOCKER": "true",
        "TRAEFIK_CERTIFICATESRESOLVERS_LAN_ACME_STORAGE": "/acme.json",
        "HOME": "/root",
    }


def test_the_variables_of_a_running_traefik_are_its_static_configuration(tmp_path: Path) -> None:
    """Entry points, providers and resolvers, in either case; and the files of its file provider are read."""
    (tmp_path / "a.yml").write_text(ROUTERS)
    notes = Notes()
    with _running(**_environment(tmp_path)) as static:
        node = load_static(static, notes)
        assert node.get("entryPoints", "web", "address").text() == ":80"
        assert node.get("entryPoints", "webSecure", "address").text() == ":443"
        assert node.get("certificatesResolvers", "lan", "acme", "storage").text() == "/acme.json"
        assert sorted(other_providers(node)) == ["docker"]
        assert provider_files(static, node, notes) == [tmp_path / "a.yml"]
        (file,) = load_dynamic(static, node, notes)
        assert file.node.get("http", "routers", "a", "rule").text() == "Host(`a.home.test`)"


def test_flags_exclude_the_environment(tmp_path: Path) -> None:
    """As Traefik has it: with one flag, no variable counts."""
    with _running("--entryPoints.web.address=:8080", **_environment(tmp_path)) as static:
        node = load_static(static, Notes())
        assert node.get("entryPoints", "web", "address").text() == ":8080"
        assert provider_files(static, node, Notes()) == []
        assert list(other_providers(node)) == []


def test_one_that_has_ended_has_no_configuration(tmp_path: Path) -> None:
    """Between the look at it and the look into it."""
    with _running(**_environment(tmp_path)) as static:
        pass
    assert load_static(static, Notes()).get("entryPoints", "web", "address").text() == ""
