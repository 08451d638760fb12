"""The lab's own set-up scripts, shaped like a user's: the one line that the quickstart's story is about is found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROVISIONING = Path(__file__).parents[2] / "deploy" / "lab" / "provisioning"
SCRIPT = PROVISIONING / "lxc103.sh"
LINE = "10.0.0.153 traefik.internal.thinkheads.ai"


def _lint(root: Path, *words: str) -> tuple[int, list[tuple[object, ...]]]:
    """(exit status, (code, file, line, node, text) of each finding)."""
    command = [sys.executable, "-m", "certagent.entry", "lint", "--sources", str(root), "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    found = [
        (finding["code"], *(finding["culprit"][part] for part in ("file", "line", "node", "text")))
        for finding in json.loads(done.stdout)["findings"]
    ]
    return done.returncode, found


def _pinning_line() -> int:
    return 1 + SCRIPT.read_text(encoding="utf-8").splitlines().index("$GATEWAY traefik.$ZONE")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), "source.hosts_pinned.client"),
        (("--authority", "103"), "source.hosts_pinned.authority"),
        (("--dnsmasq", str(PROVISIONING / "dnsmasq" / "internal.conf")), "source.hosts_pinned.client"),
    ],
)
def test_the_line_that_pins_traefik_is_the_only_finding(words: tuple[str, ...], code: str) -> None:
    """By the tree's own zone or by the dnsmasq file; fatal for the challenge where the container is the CA's."""
    assert _lint(PROVISIONING, *words) == (4, [(code, "lxc103.sh", _pinning_line(), "103", LINE)])


def test_without_the_line_nothing_is_found(tmp_path: Path) -> None:
    """As the story mends it."""
    for path in (path for path in PROVISIONING.rglob("*") if path.is_file()):
        target = tmp_path / path.relative_to(PROVISIONING)
        target.parent.mkdir(exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        target.write_text("".join(line for line in lines if line != "$GATEWAY traefik.$ZONE\n"), encoding="utf-8")
    assert _lint(tmp_path) == (0, [])


def test_its_zone_is_the_one_that_the_lab_serves() -> None:
    """Otherwise the story's line would be judged by other records than the fleet's."""
    served = PROVISIONING.parent / "nodes" / "lxc101" / "etc" / "dnsmasq.d" / "internal.conf"
    assert (PROVISIONING / "dnsmasq" / "internal.conf").read_bytes() == served.read_bytes()
