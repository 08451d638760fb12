"""The truth of the snippets, checked by running them in a throw-away root: shell with stubs for `pct`, `ssh`,
`lxc-attach` and `docker`, Ansible by ansible-core itself, cloud-init by Debian's cloud-init, two boots long. Compose,
Terraform and Proxmox's own files are by their documents alone."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from deploy.lab import places
from deploy.lab.parts import cloud_init
from tests.sources.throwaway_root import START
from tests.sources.truth import FAMILIES, KEPT_APART, SNIPPETS, UNKNOWN, ExpectedWrite, Snippet, read_snippets

PROGRAM = Path(__file__).with_name("throwaway_root.py")
MAIN = {
    "shell/08-function-with-arguments": ["./main.sh"],
    "shell/19-env-file-and-case": ["./role.sh"],
    "shell/23-arguments-of-another-script": ["./everything.sh"],
    "shell/04-defaults-and-suffixes": ["./defaults.sh"],
}
"""The entry, where a snippet has several files that could be run."""

PACKAGED = ("hosts.debian.tmpl", "resolv.conf.tmpl")
"""What the distribution brings along for cloud-init: the lines in it are in no tree."""

PLAYBOOK = {
    "ansible/01-lineinfile": ["-i", "inventory.ini", "site.yml"],
    "ansible/04-template-in-a-role": ["-i", "ca01,", "site.yml"],
    "ansible/02-yaml-inventory-and-host-vars": ["-i", "inventory/hosts.yml", "pin.yml"],
    "ansible/01-dnsmasq-template": ["-i", "dns1,", "dns.yml"],
    "ansible/03-handlers-includes-and-copy-src": ["-i", "lxc103,", "main.yml"],
    "ansible/02-blockinfile": ["-i", "edge,", "play.yml"],
}
"""As MAIN; any other playbook is the only file of its folder, for these hosts."""
HOSTS = "lxc101,lxc102,lxc103,db1,localhost,"
ALIASES = {"10.0.0.10": "lxc103", "localhost": ""}
"""The hosts that Ansible reaches under another name, or without `ssh`."""

BY_DOCUMENT = {
    "proxmox/02-conf-file",  # Proxmox's own files: what it makes of them at a start is in pct.conf(5)
    "proxmox/03-hookscript",
    "proxmox/01-loop-and-variables",  # pvesh as well
    "proxmox/02-appended-to-the-conf",
}

OF_ALPINE = ("cloud_init/04-resolv-conf-module", "cloud_init/07-resolv-conf-keys")
"""Debian's cloud-init has no say in resolv.conf; Alpine's and Photon's have."""

Lines = dict[str, dict[str, list[str]]]


def _snippets(*families: str) -> tuple[Snippet, ...]:
    return read_snippets(SNIPPETS, *families) + read_snippets(KEPT_APART, *families)


def _entry(snippet: Snippet) -> list[str]:
    scripts = [path for path in snippet.files() if path.suffix == ".sh"]
    return MAIN.get(snippet.name) or [f"./{scripts[0].relative_to(snippet.folder)}"]


def _play(snippet: Snippet) -> list[str]:
    last = sorted(snippet.folder.glob("*.yml"))[-1].name
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    return [sys.executable, program, *PLAYBOOK.get(snippet.name, ["-i", HOSTS, last])]


def _run(snippet: Snippet, root: Path, command: list[str]) -> tuple[Lines, Lines]:
    program = [sys.executable, str(PROGRAM), os.readlink("/proc/self/ns/mnt")]
    words = ["unshare", "--mount", *program, str(snippet.folder), str(root), *command]
    first, second = json.loads(subprocess.run(words, check=True, capture_output=True, timeout=120).stdout)
    return first, second


def _boot(snippet: Snippet, root: Path, distribution: str) -> tuple[Lines, Lines]:
    """Two boots of cloud-init; without the lines that stand in the distribution's own templates, and with the blanks
    that it sets in a hosts file taken for one."""
    (user_data,) = snippet.files()
    program = [sys.executable, "-m", "tests.sources.cloud_init_root", os.readlink("/proc/self/ns/mnt")]
    words = [*program, str(cloud_init.ensure()), str(user_data), str(root), distribution]
    apart = ["unshare", "--mount", "--uts", "--net", *words]
    answer = subprocess.run(apart, check=True, capture_output=True, timeout=120, cwd=places.TREE)
    first, second = json.loads(answer.stdout)
    told = frozenset(write.text for write in snippet.truth.write)
    return _without_templates(first, told), _without_templates(second, told)


def _without_templates(run: Lines, expected: frozenset[str]) -> Lines:
    layer = cloud_init.ensure() / "etc/cloud/templates"
    texts = [*START.values(), *((layer / name).read_text(encoding="utf-8") for name in PACKAGED)]
    packaged = {_single_spaced(line) for text in texts for line in text.splitlines()}

    def is_ours(line: str, node: str) -> bool:
        is_own_name = re.fullmatch(rf"127\.0\.1\.1 {re.escape(node)}\S* {re.escape(node)}", line) is not None
        return line in expected or (line not in packaged and not is_own_name)

    return {
        node: {
            file: [tidied for line in lines if is_ours(tidied := _single_spaced(line), node)]
            for file, lines in files.items()
        }
        for node, files in run.items()
    }


def _single_spaced(line: str) -> str:
    return " ".join(line.split())


def _is_it(expected: ExpectedWrite, line: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in expected.text.split(UNKNOWN)), line) is not None


def _is_known(line: str, told: list[ExpectedWrite]) -> bool:
    return line.startswith(("# BEGIN ", "# END ")) or any(_is_it(write, line) for write in told)


def _root_of(expected: ExpectedWrite) -> str:
    return "" if expected.node in (None, "localhost") else str(expected.node)


def _count(expected: ExpectedWrite, run: Lines) -> int:
    return sum(_is_it(expected, line) for line in run.get(_root_of(expected), {}).get(expected.file, []))


def test_no_root_is_made_where_it_would_outlive_the_program(tmp_path: Path) -> None:
    """Its mounts are the machine's own programs: they must end with it."""
    words = [
        sys.executable,
        str(PROGRAM),
        os.readlink("/proc/self/ns/mnt"),
        str(SNIPPETS),
        str(tmp_path / "root"),
        "true",
    ]
    answer = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
    assert "in a mount namespace of its own only" in answer.stderr
    assert not (tmp_path / "root").exists()


def test_the_snippets_are_many_and_a_third_is_kept_apart() -> None:
    """The bar of the table: 60 in all, each family in both parts, each part with snippets that write nothing."""
    shown, kept = read_snippets(SNIPPETS), read_snippets(KEPT_APART)
    assert len(shown) + len(kept) >= 60
    assert len(kept) / (len(shown) + len(kept)) >= 0.33
    assert {snippet.family for snippet in shown} == {snippet.family for snippet in kept} == set(FAMILIES)
    for part in (shown, kept):
        assert sum(not snippet.truth.write for snippet in part) >= 3


@pytest.mark.parametrize("snippet", _snippets(), ids=lambda snippet: f"{snippet.folder.parts[-3]}/{snippet.name}")
def test_the_truth_is_well_formed(snippet: Snippet) -> None:
    """Each line is there; `<?>` and `unknown part` mean the same; only an append may be guarded."""
    for write in snippet.truth.write:
        lines = (snippet.folder / write.source).read_text(encoding="utf-8").splitlines()
        assert 1 <= write.line <= len(lines)
        assert lines[write.line - 1].strip()
        assert (UNKNOWN in write.text) == (write.sure == "unknown part")
        assert (write.guarded is None) == (write.mode != "append")


@pytest.mark.slow
@pytest.mark.parametrize(
    "snippet",
    [snippet for snippet in _snippets("shell", "proxmox") if snippet.name not in BY_DOCUMENT],
    ids=lambda snippet: f"{snippet.folder.parts[-3]}/{snippet.name}",
)
def test_the_truth_of_shell_is_what_it_does(snippet: Snippet, tmp_path: Path) -> None:
    """Nothing more and nothing less is in the files after one run; after two, an unguarded append is there once
    more."""
    _compare(snippet, *_run(snippet, tmp_path / "root", _entry(snippet)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "snippet", _snippets("ansible"), ids=lambda snippet: f"{snippet.folder.parts[-3]}/{snippet.name}"
)
def test_the_truth_of_ansible_is_what_it_does(snippet: Snippet, tmp_path: Path) -> None:
    """The same for playbooks, by ansible-core."""
    first, second = _run(snippet, tmp_path / "root", _play(snippet))
    _compare(snippet, _without_aliases(first), _without_aliases(second))


@pytest.mark.slow
@pytest.mark.parametrize(
    "snippet", _snippets("cloud_init"), ids=lambda snippet: f"{snippet.folder.parts[-3]}/{snippet.name}"
)
def test_the_truth_of_cloud_init_is_what_it_does(snippet: Snippet, tmp_path: Path) -> None:
    """The same by cloud-init, with the snippet as user data: the second run is the second boot of the same instance."""
    _compare(snippet, *_boot(snippet, tmp_path / "root", "debian"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "snippet", [snippet for snippet in _snippets("cloud_init") if snippet.name in OF_ALPINE], ids=lambda one: one.name
)
def test_resolv_conf_is_written_where_the_distribution_lets_cloud_init(snippet: Snippet, tmp_path: Path) -> None:
    """On Debian these lines depend on what the user data does not tell; on Alpine each is there, in this order."""
    first, second = _boot(snippet, tmp_path / "root", "alpine")
    (node,) = first
    expected = [(write.file, write.text) for write in snippet.truth.write]
    assert [("/etc/resolv.conf", line) for line in first[node]["/etc/resolv.conf"] if line] == expected
    assert second == first


def _without_aliases(run: Lines) -> Lines:
    return {ALIASES.get(node, node): files for node, files in run.items() if node or "localhost" not in run}


def _compare(snippet: Snippet, first: Lines, second: Lines) -> None:
    for write in snippet.truth.write:
        if write.conditional or write.mode == "edit":
            continue
        if not write.stays:
            assert _count(write, second) == 0, write
            continue
        assert _count(write, first) >= 1, write
        if write.mode == "append":
            assert (_count(write, second) > _count(write, first)) is not write.guarded, write
    for node, files in first.items():
        for file, lines in files.items():
            told = [one for one in snippet.truth.write if (_root_of(one), one.file) == (node, file)]
            left = Counter(line for line in lines if line.strip() and not _is_known(line, told))
            assert not left, (node, file)
