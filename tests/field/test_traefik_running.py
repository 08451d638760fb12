"""A Traefik that runs: what it was started with, and what it made of its templates. Each in a tree of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.lab.parts import traefik
from tests.field.tree import CASES, Tree

pytestmark = pytest.mark.slow

_LOOK = """
from certagent.vantage.web_server_config import WebServerConfigs
for name in ("git.home.test", "wiki.home.test", "other.home.test"):
    for look in WebServerConfigs().observe(name):
        print(name, look.action, look.target, look.place and f"{look.place.file}:{look.place.line}")
"""


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            'Host(`wiki.{{ env "DOMAIN" }}`)',
            [
                "wiki.home.test passes http://127.0.0.1:3000 /etc/traefik/conf.d/apps.yml:5",
                "other.home.test answers 404 None",
            ],
        ),
        (
            'Host(`{{ range list "other" }}{{ . }}.home.test{{ end }}`)',
            [
                "wiki.home.test answers 404 None",
                "other.home.test passes http://127.0.0.1:3000 /etc/traefik/conf.d/apps.yml:5",
            ],
        ),
    ],
)
def test_what_traefik_made_of_a_template_is_asked_of_its_api(rule: str, expected: list[str], tmp_path: Path) -> None:
    """The host that came of it, at the template's line."""
    tree = Tree.of_case("14-traefik-templates", tmp_path)
    apps = tree.root / "etc/traefik/conf.d/apps.yml"
    text = apps.read_text().replace('Host(`wiki.{{ env "DOMAIN" }}`)', rule).replace("websecure", "web")
    apps.write_text(text.replace("      tls: {}\n", ""))
    program = traefik.ensure() / "usr/local/bin/traefik"
    script = (
        f"DOMAIN=home.test {program} & for i in $(seq 100); do"
        " curl -s --noproxy '*' http://127.0.0.1:8080/api/http/routers | grep -q @file && break; sleep 0.1; done;"
        ' "$@"; kill $!'
    )
    done = tree.run(["sh", "-c", script, "sh", sys.executable, "-c", _LOOK])
    assert [line for line in done.stdout.splitlines() if line.startswith(("wiki.", "other."))] == expected, done.stderr


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("--configFile=/etc/traefik/own.yml", "/etc/traefik/own.yml ('docker',)"),
        ("--configfile own.yml", "/etc/traefik/own.yml ('docker',)"),
        ("--providers.docker=true --providers.docker.exposedbydefault=false", "cmdline ('docker',)"),
        ("--entrypoints.web.address=:80 --providers.swarm", "cmdline ('swarm',)"),
    ],
)
def test_a_running_traefik_says_where_its_configuration_is(flags: str, found: str, tmp_path: Path) -> None:
    """By a flag, by its working folder, by its command line alone."""
    tree = Tree(tmp_path)
    folder = tree.root / "etc/traefik"
    folder.mkdir(parents=True)
    (folder / "own.yml").write_text("providers: {docker: {}}\n")
    look = (
        "from certagent.vantage.traefik_files import find_static; from certagent.vantage.traefik_config import *;"
        "static = find_static(); print(static if static.suffix else static.name, find_other_providers())"
    )
    done = _run_beside_traefik(tree, tmp_path, flags, look)
    assert done.stdout.strip() == found, done.stderr


def test_a_command_line_is_read_as_a_static_file(tmp_path: Path) -> None:
    """Entry points, the file provider, its own ACME: all of it by flags."""
    tree = Tree(tmp_path)
    folder = tree.root / "etc/dynamic"
    folder.mkdir(parents=True)
    (folder / "a.yml").write_text((CASES / "16-traefik-null-routers/root/etc/traefik/dynamic/apps.yml").read_text())
    flags = (
        "--entryPoints.web.address=:80 --providers.file.directory=/etc/dynamic"
        " --certificatesresolvers.le.acme.httpchallenge.entrypoint=web"
    )
    look = f"{_LOOK}\nfrom certagent.vantage.traefik_config import *\nfound = find_traefik()\n"
    look += "print(found.names, found.dynamic, found.has_own_acme)"
    done = _run_beside_traefik(tree, tmp_path, flags, look)
    shown = re.sub("/proc/[0-9]+/", "/proc/", done.stdout).splitlines()
    assert [shown[0], shown[-1]] == [
        "git.home.test answers 404 /proc/cmdline:None",
        "('git.home.test',) /etc/dynamic True",
    ], done.stderr


def _run_beside_traefik(tree: Tree, folder: Path, flags: str, look: str) -> "subprocess.CompletedProcess[str]":
    """The program `look`, once a process called traefik runs in /etc with those flags."""
    link = folder.parent / f"{folder.name}-bin" / "traefik"
    link.parent.mkdir()
    link.symlink_to(sys.executable)
    is_there = "for i in $(seq 1000); do grep -q traefik /proc/$!/comm && break; sleep 0.01; done"
    script = f"mkdir -p /etc/traefik; cd /etc/traefik; {link} -c 'import time; time.sleep(60)' {flags} & {is_there}"
    return tree.run(["sh", "-c", f'{script}; "$@"; kill $!', "sh", sys.executable, "-c", look])
