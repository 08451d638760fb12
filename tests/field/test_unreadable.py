"""What cannot be read of a tree, as `lint` says it: the file, the line; and nothing of trees that are whole."""

from pathlib import Path

import pytest

from certagent.vantage.nameserver_config import NameserverObserver
from certagent.vantage.web_server_config import WebServerConfigs
from tests.fakes.processes import Running
from tests.field.test_fuzz import TREES, copy_tree
from tests.field.tree import Tree

BROKEN = ("51-nginx-self-include", "14-traefik-templates")


@pytest.mark.parametrize("name", [name for name in TREES if name not in BROKEN])
def test_a_whole_tree_can_be_read(tmp_path: Path, name: str) -> None:
    """The cases', whatever else is wrong in them, and the lab's own."""
    copy_tree(TREES[name], tmp_path)
    traefik = tuple(tmp_path / "etc/traefik" / file for file in ("traefik.toml", "traefik.yml", "traefik.yaml"))
    assert WebServerConfigs(tmp_path / "etc/nginx/nginx.conf", traefik).unreadable() == ()
    observer = NameserverObserver(Running("dnsmasq -C /etc/dnsmasq.conf"), tmp_path)
    observation = observer.observe()
    assert observation is not None
    assert observation.unreadable == ()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("http:\n  routers:\n    a: {rule: Host(`a`)\n", 3),
        ("http:\n\trouters:\n", 2),
        ("- a list\n", 1),
        ("http: *nobody\n", 1),
    ],
)
def test_lint_says_what_cannot_be_read(tmp_path: Path, content: str, line: int) -> None:
    """A file of Traefik's that is saved by half: its line, a warning, and nothing is said to be missing."""
    tree = Tree.of_case("16-traefik-null-routers", tmp_path)
    (tree.root / "etc/traefik/dynamic/broken.yml").write_text(content)
    document = tree.document("lint")
    (finding,) = [found for found in document["findings"] if found["code"] == "config.unreadable"]
    culprit = finding["culprit"]
    assert (culprit["file"], culprit["line"]) == ("/etc/traefik/dynamic/broken.yml", line)
    assert (finding["severity"], finding["vantage"]) == ("warn", "static")
    assert "deploy.dangling_reference" not in {found["code"] for found in document["findings"]}
    (tree.root / "etc/traefik/dynamic/broken.yml").write_text("")
    assert "config.unreadable" not in {found["code"] for found in tree.document("lint")["findings"]}


def test_lint_says_what_stands_in_the_place_of_a_file(tmp_path: Path) -> None:
    """Of the resolver's, too."""
    tree = Tree.of_case("05-certbot-nginx", tmp_path)
    (tree.root / "etc/hosts").mkdir()
    (tree.root / "etc/nginx/nginx.conf").unlink()
    (tree.root / "etc/nginx/nginx.conf").symlink_to("/dev/zero")
    findings = [found for found in tree.document("lint")["findings"] if found["code"] == "config.unreadable"]
    assert [(found["culprit"]["file"], found["detail"]["reason"]) for found in findings] == [
        ("/etc/hosts", "it is a folder"),
        ("/etc/nginx/nginx.conf", "it is a device"),
    ]
