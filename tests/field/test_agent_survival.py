"""A real agent lives on, and answers, whatever is saved into the files of the web servers that it looks at."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.field.agent import running_agent
from tests.field.tree import Tree

pytestmark = pytest.mark.slow

STATIC = "/etc/traefik/traefik.yml"
DYNAMIC = "/etc/traefik/dynamic/apps.yml"
NGINX = "/etc/nginx/nginx.conf"
GOOD = {
    STATIC: 'entryPoints: {web: {address: ":80"}}\nproviders:\n  file: {directory: /etc/traefik/dynamic}\n',
    DYNAMIC: "http:\n  routers:\n    wiki: {rule: Host(`wiki.home.test`), service: wiki}\n  services:\n"
    '    wiki: {loadBalancer: {servers: [{url: "http://127.0.0.1:1"}]}}\n',
    NGINX: "events {}\nhttp {\n  server {\n    listen 80;\n    return 404;\n  }\n}\n",
}


@pytest.mark.parametrize("case", ["26-agent-merge-keys", "27-agent-null-providers", "28-agent-null-router"])
def test_an_agent_lives_beside_the_cases_files(tmp_path: Path, case: str) -> None:
    """It answers, twice, and looks at them in between."""
    with running_agent(Tree.of_case(case, tmp_path / "root"), tmp_path / "log") as agent:
        assert agent.status()["agent"] == "lxc102"
        agent.wait_until(lambda: bool(agent.reported()))
        assert agent.status()["agent"] == "lxc102"


def _broken(place: Path) -> list[Callable[[str], bytes | Path]]:
    """What is saved in the place of a good content: other bytes, or a link to something that is no file."""
    folder, pipe = place / "folder", place / "pipe"
    folder.mkdir(parents=True)
    os.mkfifo(pipe)
    return [
        lambda good: good[: good.rindex("{") + 1].encode(),
        lambda good: b"\xff\xfe\x00{[: &a *b\n\t{{{\n" * 3,
        lambda good: b"a: &a [*b]\nhttp {\n",
        lambda good: b"[{" * 5000,
        lambda good: bytes(8 * 1024 * 1024),
        lambda good: pipe,
        lambda good: folder,
        lambda good: Path("/dev/zero"),
        lambda good: good.replace("{", "{{{").encode(),
    ]


def _save(path: Path, content: bytes | Path) -> None:
    """At once, as an editor does it: never is nothing there."""
    spare = path.with_name(".spare")
    if isinstance(content, Path):
        spare.symlink_to(content)
    else:
        spare.write_bytes(content)
    spare.replace(path)


@pytest.mark.slow
def test_an_agent_outlives_a_hundred_broken_saves(tmp_path: Path) -> None:
    """Twelve times a file is broken, each time by saves of every kind: one report when it begins, and one when it is
    over. It answers all the while."""
    tree = Tree(tmp_path / "root")
    for name, content in GOOD.items():
        (tree.root / name[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tree.root / name[1:]).write_text(content)
    broken = _broken(tmp_path / "broken")
    expected = [""]
    with running_agent(tree, tmp_path / "log") as agent:
        agent.wait_until(lambda: agent.reported() == expected)
        assert agent.unreadable() == []
        for turn in range(12):
            name = list(GOOD)[turn % len(GOOD)]
            path = tree.root / name[1:]
            expected.append(name)
            for number in range(len(broken)):
                _save(path, broken[(turn + number) % len(broken)](GOOD[name]))
                assert [file for file, _ in agent.unreadable()] == [name], (name, (turn + number) % len(broken))
            agent.wait_until(lambda: agent.reported() == expected)
            _save(path, GOOD[name].encode())
            expected.append("")
            agent.wait_until(lambda: agent.reported() == expected)
            assert agent.unreadable() == []
