"""`certagent lint` as a process, on files that are given: no network, no agent, no configuration."""

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from certagent.cli import commands
from certagent.commands.lint import MOST_FINDINGS, exit_status, lint, render

GOOD = {
    "hosts": "127.0.0.1 localhost\n10.0.0.12 traefik.internal.test\n",
    "resolv-conf": "search internal.test\nnameserver 10.0.0.153\n",
    "nsswitch": "hosts: files dns\n",
}
HUGE_SECONDS = 8.0
"""Some three times what it takes."""
WITHOUT_NETWORK = ("unshare", "--net")


def _lint(folder: Path, *words: str, **files: str | bytes) -> tuple[int, Any, str]:
    """(exit status, document, what went to standard error); all three files are given."""
    options = []
    for name, content in (GOOD | {key.replace("_", "-"): value for key, value in files.items()}).items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        options += [f"--{name}", str(folder / name)]
    done = subprocess.run(
        [*WITHOUT_NETWORK, sys.executable, "-m", "certagent.entry", "lint", *options, *words, "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, json.loads(done.stdout or "null"), done.stderr


def _codes(document: Any) -> list[str]:
    return [finding["code"] for finding in document["findings"]]


def test_good_files_have_nothing_to_say(tmp_path: Path) -> None:
    """0, and what was looked at; in a namespace without any network."""
    status, document, trouble = _lint(tmp_path)
    assert (status, document["findings"], trouble) == (0, [], "")
    assert document["files"]["/etc/hosts"] == {
        "path": str(tmp_path / "hosts"),
        "exists": True,
        "link": None,
        "lines": 2,
        "managed_by": [],
    }


def test_findings_come_worst_first_and_decide_the_status(tmp_path: Path) -> None:
    """4 with an error, 3 with warnings alone, 0 with hints; the search list says which zones are ours."""
    bad = GOOD["hosts"] + "10.0.0.153 traefik.internal.test\n127.0.1.1 nginx.internal.test\nx y\n"
    status, document, _ = _lint(tmp_path, hosts=bad, nsswitch="hosts: files resolve dns\n")
    assert status == 4
    assert _codes(document) == ["dns.loopback", "dns.hosts_conflict", "dns.hosts_ignored", "dns.nss_only"]
    conflict = document["findings"][1]
    assert conflict["culprit"] | {"node": ""} == {
        "node": "",
        "file": str(tmp_path / "hosts"),
        "line": 3,
        "text": "10.0.0.153 traefik.internal.test",
        "address": "10.0.0.153",
        "role": None,
    }
    assert _lint(tmp_path, resolv_conf=GOOD["resolv-conf"] + "nameserver 1.1.1.1\n")[0] == 3
    assert _lint(tmp_path, nsswitch="hosts: files resolve dns\n")[0] == 0


def test_the_configuration_says_which_zones_and_names_are_ours(tmp_path: Path) -> None:
    """On the CA's node its own name is on loopback; a zone that is in no search list counts as well."""
    (tmp_path / "root.crt").write_text("root")
    configuration = tmp_path / "agent.toml"
    configuration.write_text(
        f'[agent]\nname = "lxc103"\n[authority]\ndirectory = "https://ca.other.test:9000/acme/acme/directory"\n'
        f'root = "{tmp_path}/root.crt"\n[dns]\nzones = ["other.test"]\n[vantage]\nallow = ["*.other.test"]\n'
    )
    hosts = "127.0.0.1 ca.other.test\n127.0.0.1 app.other.test\n127.0.0.1 app.internal.test\n"
    status, document, _ = _lint(tmp_path, "--config", str(configuration), hosts=hosts)
    assert (status, document["node"]) == (4, "lxc103")
    assert [(one["code"], one["identifier"]) for one in document["findings"]] == [("dns.loopback", "app.other.test")]


@pytest.mark.parametrize(
    "hosts",
    [
        b"\0" * 1_000_000,
        b"\xef\xbb\xbf127.0.0.1 localhost\r\n" + b"fe80::1%eth0\ttraefik.internal.test # \xff\0\r\n" * 25_000,
    ],
)
@pytest.mark.slow
def test_a_hostile_file_is_no_traceback(tmp_path: Path, hosts: bytes) -> None:
    """A megabyte of it: findings, bounded in number, and nothing on standard error."""
    status, document, trouble = _lint(tmp_path, hosts=hosts)
    assert trouble == ""
    assert status in (0, 3, 4)
    assert len(document["findings"]) <= MOST_FINDINGS


def test_a_file_that_is_not_there_is_usage(tmp_path: Path) -> None:
    """2, in one sentence."""
    done = subprocess.run(
        [sys.executable, "-m", "certagent.entry", "lint", "--hosts", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "lint" in commands.commands


def test_a_person_reads_the_line_the_manager_and_the_fix(tmp_path: Path) -> None:
    """As text: place, other lines of the conflict, where to change it."""
    hosts = tmp_path / "hosts"
    hosts.write_text("# --- BEGIN PVE ---\n10.0.0.1 x.test\n# --- END PVE ---\n10.0.0.2 x.test\n")
    document = lint(None, {"/etc/hosts": hosts})
    text = render(document)
    assert f"{hosts}:4: 10.0.0.2 x.test" in text
    assert f"{hosts}:2: 10.0.0.1 x.test" in text
    assert "(managed by proxmox)" in text
    assert "on the Proxmox VE host" in text
    assert exit_status(document) == 4


@pytest.mark.slow
def test_a_hosts_file_of_twelve_megabytes_is_linted_within_a_bound(tmp_path: Path) -> None:
    """A blocklist as people have them, below a line that is wrong: time of the processor, all in all."""
    line = "0.0.0.0 advertisement-{:06}.tracker.example.net\n"
    wrong = "10.0.0.9:80 wiki.internal.test\n"
    hosts = "".join([GOOD["hosts"], wrong, *(line.format(number) for number in range(260_000))])
    assert len(hosts) > 12_000_000
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _, document, trouble = _lint(tmp_path, hosts=hosts)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert (_codes(document), trouble) == (["config.unreadable", "dns.hosts_ignored"], "")
    cut, wrong_line = (one["culprit"] for one in document["findings"])
    assert (cut["file"], wrong_line["line"]) == (str(tmp_path / "hosts"), 3)
    said = "it is larger than 4 MiB, and only that part of it was read. What follows was not checked."
    assert document["findings"][0]["explanation"].endswith(said)
    assert took <= HUGE_SECONDS
