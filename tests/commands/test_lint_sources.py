"""`certagent lint --sources`: each code for real and beside it what must not be found; the zone; the formats."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certagent.commands import UnableError, lint_sources
from certagent.domain.catalogue.entries import CATALOGUE
from certagent.domain.rehearsals import DnsAnswer

pytestmark = pytest.mark.slow

ZONE = """local=/internal.example/
host-record=traefik.internal.example,10.0.0.12
host-record=ca.internal.example,10.0.0.10
"""
PIN = "10.0.0.153 traefik.internal.example"


OF_LIVE_LINES = {"source.line_returns"}
"""The collector's alone: see `tests/collector/test_provisioning_sources.py`."""


class Tree:
    """A checkout with a zone beside it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tree"
        self.root.mkdir()
        self.zone = folder / "zone.conf"
        self.zone.write_text(ZONE, encoding="utf-8")

    def write(self, path: str, text: str) -> None:
        """A file of the checkout."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The command, as a person calls it."""
        command = [sys.executable, "-m", "certagent.entry", "lint", "--sources", str(self.root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def findings(self, *words: str) -> list[dict[str, Any]]:
        """Against the zone, unless the words say otherwise."""
        answer = self.run("--json", *(words or ("--dnsmasq", str(self.zone))))
        return list(json.loads(answer.stdout)["findings"])

    def said(self, *words: str) -> set[tuple[Any, ...]]:
        """(code, file, line, node) of each."""
        return {
            (one["code"], *(one["culprit"][part] for part in ("file", "line", "node"))) for one in self.findings(*words)
        }


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """An empty one."""
    return Tree(tmp_path)


def test_a_pin_at_the_ca_is_fatal_and_elsewhere_an_error(tree: Tree) -> None:
    """By pct, and for the CA because its own code sets it up there."""
    tree.write(
        "fleet.sh",
        "#!/bin/bash\npct exec 103 -- apt-get install -y step-ca\nfor id in 101 103; do\n"
        f"  pct exec $id -- sh -c 'grep -q traefik /etc/hosts || echo \"{PIN}\" >> /etc/hosts'\n"
        "done\n",
    )
    assert tree.said() == {
        ("source.hosts_pinned.authority", "fleet.sh", 4, "103"),
        ("source.hosts_pinned.client", "fleet.sh", 4, "101"),
    }
    worst, other = tree.findings()
    assert (worst["severity"], other["severity"]) == ("fatal", "error")
    assert worst["culprit"]["text"] == PIN
    assert worst["identifier"] == "traefik.internal.example"
    assert "go to 10.0.0.153 and fail" in worst["explanation"]
    assert worst["detail"]["sureness"] == "literal"
    assert tree.run("--dnsmasq", str(tree.zone)).returncode == 4


def test_what_agrees_is_told_and_breaks_no_job(tree: Tree) -> None:
    """Right today."""
    tree.write("a.sh", 'grep -q ca /etc/hosts || echo "10.0.0.10 ca.internal.example" >> /etc/hosts\n')
    assert tree.said() == {("source.hosts_agrees", "a.sh", 1, None)}
    assert tree.run("--dnsmasq", str(tree.zone)).returncode == 0


def test_a_name_without_a_record_is_the_zone_s_matter(tree: Tree) -> None:
    """And a name of somebody else's zone is nobody's."""
    tree.write("a.sh", 'printf "10.0.0.9 log.internal.example\\n10.0.0.8 x.other.example\\n" > /etc/hosts\n')
    (finding,) = tree.findings()
    assert (finding["code"], finding["identifier"]) == ("source.name_without_record", "log.internal.example")
    assert finding["fix"].startswith("Add log.internal.example with 10.0.0.9 to the zone")


def test_two_places_with_two_addresses_conflict(tree: Tree) -> None:
    """Without any zone; the same address twice does not."""
    tree.write("a.sh", 'echo "10.0.0.1 db.internal.example" > /etc/hosts\n')
    tree.write("b.sh", 'echo "10.0.0.2 db.internal.example" > /etc/hosts\n')
    tree.write("c.sh", 'echo "10.0.0.1 db.internal.example" > /etc/hosts\n')
    assert tree.said("--zone", "internal.example") == {("source.hosts_conflict", "b.sh", 1, None)}
    assert "a.sh:1" in tree.findings("--zone", "internal.example")[0]["explanation"]


def test_an_append_without_a_check_grows(tree: Tree) -> None:
    """One finding for what is written together, and none for what is guarded or runs once."""
    tree.write("a.sh", "cat >> /etc/hosts <<EOF\n# ours\n10.1.1.1 a.b.example\n10.1.1.2 c.b.example\nEOF\n")
    tree.write("b.sh", "grep -q a.b /etc/hosts || echo 10.1.1.1 a.b.example >> /etc/hosts\n")
    tree.write("user-data", "#cloud-config\nruncmd:\n  - echo 10.1.1.1 a.b.example >> /etc/hosts\n")
    assert tree.said() == {("source.hosts_unguarded", "a.sh", 3, None)}


def test_a_file_that_somebody_else_rewrites(tree: Tree) -> None:
    """cloud-init by its own setting, Proxmox by what it is, and not what `pct set` writes."""
    tree.write(
        "user-data",
        "#cloud-config\nhostname: web\nmanage_etc_hosts: true\nruncmd:\n  - echo 10.1.1.1 a.b.example >> /etc/hosts\n",
    )
    tree.write(
        "p.sh",
        "pct set 101 --nameserver 10.0.0.153\npct exec 101 -- sh -c 'echo nameserver 10.0.0.153 > /etc/resolv.conf'\n",
    )
    assert tree.said() == {
        ("source.overwritten", "user-data", 5, "web"),
        ("source.overwritten", "p.sh", 2, "101"),
    }
    assert "user-data:3" in next(one for one in tree.findings() if one["culprit"]["node"] == "web")["explanation"]


def test_a_nameserver_that_is_public_or_elsewhere(tree: Tree, tmp_path: Path) -> None:
    """Elsewhere is said only where the fleet's own are known."""
    tree.write(
        "r.sh", "printf 'nameserver 10.0.0.153\\nnameserver 192.168.1.1\\nnameserver 8.8.8.8\\n' > /etc/resolv.conf\n"
    )
    assert [one["code"] for one in tree.findings()] == ["source.resolver_public"]
    tree.write("r2.sh", "echo nameserver 192.168.1.1 > /etc/resolv.conf\n")
    config = tmp_path / "agent.toml"
    config.write_text(
        '[agent]\nname = "lxc1"\nstate = "/tmp/none"\n[authority]\n'
        'directory = "https://ca.internal.example:9000/acme/acme/directory"\nroot = "/etc/hosts"\n'
        'addresses = ["10.0.0.10"]\n[dns]\nnameservers = ["10.0.0.153"]\nzones = ["internal.example"]\n',
        encoding="utf-8",
    )
    said = tree.said("--config", str(config))
    assert ("source.resolver_elsewhere", "r2.sh", 1, None) in said
    assert ("source.resolver_public", "r.sh", 1, None) in said


def test_the_tree_s_own_dnsmasq_is_the_zone(tree: Tree) -> None:
    """Its records count, and the hosts file of the node that serves them is a part of it."""
    tree.write(
        "dns.sh",
        "pct exec 101 -- sh -c 'echo address=/traefik.internal.example/10.0.0.12 > /etc/dnsmasq.d/a.conf'\n"
        "pct exec 101 -- sh -c 'echo 10.0.0.99 traefik.internal.example > /etc/hosts'\n",
    )
    tree.write("c.sh", "echo 10.0.0.153 traefik.internal.example > /etc/hosts\n")
    assert tree.said("--json") == {("source.hosts_pinned.client", "c.sh", 1, None)}


def test_a_rule_tells_the_node_and_an_option_the_ca(tree: Tree) -> None:
    """`scripts/{node}.sh`; `--authority`."""
    tree.write("scripts/lxc103.sh", "echo 10.0.0.153 traefik.internal.example > /etc/hosts\n")
    words = ("--dnsmasq", str(tree.zone), "--node", "scripts/{node}.sh")
    assert tree.said(*words) == {("source.hosts_pinned.client", "scripts/lxc103.sh", 1, "lxc103")}
    assert tree.said(*words, "--authority", "lxc103") == {
        ("source.hosts_pinned.authority", "scripts/lxc103.sh", 1, "lxc103")
    }


def test_it_is_told_to_github_line_by_line(tree: Tree) -> None:
    """An annotation for each, the colon and the comma of its title escaped."""
    tree.write("a.sh", "echo 10.0.0.153 traefik.internal.example > /etc/hosts\n")
    answer = tree.run("--dnsmasq", str(tree.zone), "--format", "github")
    assert answer.returncode == 4
    (line,) = answer.stdout.splitlines()
    assert line.startswith(
        f"::error file={tree.root}/a.sh,line=1,title=certagent source.hosts_pinned.client::Line 1 of"
    )


def test_what_git_ignores_is_left_out(tree: Tree) -> None:
    """Of every folder, and with what is taken back."""
    bad = "echo 10.0.0.153 traefik.internal.example > /etc/hosts\n"
    tree.write(".gitignore", "build/\n*.local.sh\n!keep.local.sh\n")
    tree.write("sub/.gitignore", "/generated.sh\n")
    for path in ("build/a.sh", "x.local.sh", "sub/generated.sh", ".git/hooks/a.sh"):
        tree.write(path, bad)
    tree.write("keep.local.sh", bad)
    assert {file for _, file, _, _ in tree.said()} == {"keep.local.sh"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--dnsmasq", "zone", "--nameserver", "10.0.0.1"), "give --dnsmasq or --nameserver, not both"),
        (("--hosts", "zone"), "--sources cannot be combined with"),
    ],
)
def test_what_does_not_go_together_is_refused(tree: Tree, words: tuple[str, ...], sentence: str) -> None:
    """Exit status 2."""
    answer = tree.run(*(str(tree.zone) if word == "zone" else word for word in words))
    assert (answer.returncode, sentence in answer.stderr) == (2, True)


def test_without_the_parser_its_package_is_named(tree: Tree) -> None:
    """One sentence, exit status 1."""
    tree.write("a.sh", "echo 10.0.0.153 x.internal.example > /etc/hosts\n")
    program = "import sys; sys.modules['tree_sitter'] = None; from certagent.entry import main; main()"
    command = [sys.executable, "-c", program, "lint", "--sources", str(tree.root)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert answer.returncode == 1
    assert "pip install 'certagent[sources]'" in answer.stderr


def test_a_call_that_gives_the_words_is_what_to_remove(tree: Tree) -> None:
    """A function is written once and called often: its own line is not the mistake."""
    tree.write(
        "pin.sh",
        'pin() { grep -q "$2" /etc/hosts || echo "$1 $2" >> /etc/hosts; }\nmain() {\n  pin 10.0.0.153'
        ' traefik.internal.example\n}\nmain "$@"\n',
    )
    (finding,) = tree.findings()
    assert (finding["culprit"]["line"], finding["detail"]["sureness"]) == (1, "resolved variable")
    assert finding["fix"].startswith("Remove the call in pin.sh:3 (line 1 of pin.sh does it)")


def test_a_nameserver_is_asked_for_the_names_that_the_tree_pins(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, and only those of the zones; one that has no record is told, one that does not answer is the end."""
    lines = "10.0.0.153 traefik.x.example\\n10.0.0.8 gone.x.example\\n1.1.1.1 y.example\\n"
    tree.write("a.sh", f"printf '{lines}' > /etc/hosts\n")
    asked: list[tuple[str, str]] = []
    known = {"traefik.x.example.": ("10.0.0.12",)}

    async def answer(nameserver: str, name: str, record: str, _timeout: object) -> DnsAnswer:
        asked.append((name, record))
        addresses = known.get(name, ()) if record == "A" else ()
        status = "timeout" if nameserver == "10.0.0.1" else "ok" if addresses else "nxdomain"
        return DnsAnswer(nameserver=nameserver, name=name, record=record, status=status, addresses=addresses)

    monkeypatch.setattr(lint_sources, "ask", answer)
    request = lint_sources.SourcesRequest(root=tree.root, nameserver="10.0.0.153", zones=("x.example",))
    found = lint_sources.lint_sources(None, request)["findings"]
    assert [(one["code"], one["identifier"]) for one in found] == [
        ("source.hosts_pinned.client", "traefik.x.example"),
        ("source.name_without_record", "gone.x.example"),
    ]
    assert len(asked) == len(set(asked)) == 4
    silent = msgspec.structs.replace(request, nameserver="10.0.0.1")
    with pytest.raises(UnableError, match=r"the nameserver 10\.0\.0\.1 does not answer"):
        lint_sources.lint_sources(None, silent)


def test_the_recipe_s_hook_refuses_the_commit(tree: Tree, tmp_path: Path) -> None:
    """As git runs it: an error is no commit, a warning is one."""
    recipe = Path("docs/recipes.md").read_text(encoding="utf-8").partition("```sh\n#!/bin/sh\n")[2].partition("```")[0]
    program = tmp_path / "bin" / "certagent"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m certagent.entry "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    more = {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(Path.cwd())}

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        command, environment = ["git", *words], os.environ | who | more
        return subprocess.run(command, cwd=tree.root, env=environment, capture_output=True, text=True, check=False)

    tree.write("dnsmasq.conf", ZONE)
    git("init", "-q")
    hook = tree.root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{recipe}", encoding="utf-8")
    hook.chmod(0o755)
    tree.write("setup.sh", f"#!/bin/sh\necho '{PIN}' >> /etc/hosts\n")
    git("add", ".")
    refused = git("commit", "-q", "-m", "a pin")
    assert refused.returncode != 0
    assert "source.hosts_pinned.client" in refused.stdout + refused.stderr
    tree.write("setup.sh", "#!/bin/sh\necho '10.0.0.12 traefik.internal.example' >> /etc/hosts\n")
    git("add", ".")
    taken = git("commit", "-q", "-m", "an append")
    assert "source.hosts_unguarded" in taken.stdout + taken.stderr
    assert (taken.returncode, len(git("log", "--oneline").stdout.splitlines())) == (0, 1)


def test_what_is_no_text_is_counted(tree: Tree) -> None:
    """And a script that only looks like one is said."""
    tree.write("a.sh", "true\n")
    tree.write("logo.png", "\0\0")
    tree.write("b.sh", "#!/bin/sh\n\0")
    (tree.root / "link").symlink_to("a.sh")
    said = tree.run("--dnsmasq", str(tree.zone)).stdout
    assert "(left out: binary files 2, links 1)" in said
    assert "it is a script with NUL bytes in it" in said


@pytest.mark.parametrize("code", sorted({code for code in CATALOGUE if code.startswith("source.")} - OF_LIVE_LINES))
def test_no_code_about_sources_is_without_a_test_here(code: str) -> None:
    """Each is produced above by the command itself."""
    assert f'"{code}"' in Path(__file__).read_text(encoding="utf-8")
