"""Killed anywhere: the pair on disk matches all the same, and done again it ends as it should."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certagent.deployers.deploy import make_target
from certagent.domain.certificates import read_facts
from tests.certificates import Authority
from tests.deployers.killed import REFUSED, WAVE, Scenario, deploy, settings, spare_the_disk
from tests.deployers.reloads import RELOADS

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """See `spare_the_disk`."""
    monkeypatch.setattr("os.fsync", spare_the_disk)


def _die_everywhere(scenario: Scenario, tmp_path: Path) -> list[Path]:
    """One copy per step at which the deployment was killed."""
    description = tmp_path / "scenario.json"
    description.write_bytes(msgspec.json.encode(scenario, enc_hook=str))
    done = subprocess.run(
        [sys.executable, "-m", "tests.deployers.killed", str(description)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    steps = int(done.stdout)
    assert steps > 20, "the steps are not seen any more"
    return [scenario.copies / str(step) for step in range(steps)]


def _scenario(tmp_path: Path, kind: str) -> Scenario:
    private = Authority()
    folder = tmp_path / "before"
    (folder / "ssl").mkdir(parents=True)
    (folder / "dynamic").mkdir()
    old = private.issue("web.internal")
    (folder / "ssl" / "web.crt").write_bytes(old.chain_pem)
    (folder / "ssl" / "web.key").write_bytes(old.key_pem)
    (folder / "ssl" / "web.pem").write_bytes(old.chain_pem + old.key_pem)
    generations = list(private.issue_generations(3, "web.internal"))
    (tmp_path / "copies").mkdir()
    return Scenario(folder=folder, copies=tmp_path / "copies", kind=kind, generations=generations)


def _assert_pair_matches(key: Path, chain: Path) -> str:
    leaf = x509.load_pem_x509_certificate(chain.read_bytes())
    own = load_pem_private_key(key.read_bytes(), password=None)
    assert own.public_key() == leaf.public_key(), key
    return read_facts(leaf).fingerprint


@pytest.mark.parametrize("start", ["files", "links", "nothing", "half"])
def test_a_linked_pair_always_matches(tmp_path: Path, start: str) -> None:
    """Over three generations; from files that were there, from links, from nothing, from half a pair."""
    scenario = _scenario(tmp_path, "linked")
    if start == "links":
        deploy(msgspec.structs.replace(scenario, generations=scenario.generations[:1]), scenario.folder)
    if start == "nothing":
        (scenario.folder / "ssl" / "web.crt").unlink()
    if start in ("nothing", "half"):
        (scenario.folder / "ssl" / "web.key").unlink()
    copies = _die_everywhere(scenario, tmp_path)
    for copy in copies:
        target = settings("linked", copy)
        if start in ("files", "links"):
            _assert_pair_matches(copy / "ssl" / "web.key", copy / "ssl" / "web.crt")
        deploy(scenario, copy)
        served = _assert_pair_matches(copy / "ssl" / "web.key", copy / "ssl" / "web.crt")
        assert served == scenario.generations[-1].facts.fingerprint
        assert make_target("web", target, RELOADS).roll_back() is None  # what is live is what is proven
    print(f"killed at {len(copies)} places")


@pytest.mark.parametrize("start", ["file", "link", "nothing"])
def test_a_combined_file_always_matches(tmp_path: Path, start: str) -> None:
    """HAProxy's, likewise: it is whole wherever it is, and done again it is the new one."""
    scenario = _scenario(tmp_path, "haproxy")
    if start == "link":
        deploy(msgspec.structs.replace(scenario, generations=scenario.generations[:1]), scenario.folder)
    if start == "nothing":
        (scenario.folder / "ssl" / "web.pem").unlink()
    copies = _die_everywhere(scenario, tmp_path)
    for copy in copies:
        file = copy / "ssl" / "web.pem"
        if start != "nothing":
            _assert_pair_matches(file, file)
        deploy(scenario, copy)
        assert _assert_pair_matches(file, file) == scenario.generations[-1].facts.fingerprint
        assert make_target("web", settings("haproxy", copy), RELOADS).roll_back() is None
    print(f"killed at {len(copies)} places")


def test_traefik_is_never_told_of_half_a_pair(tmp_path: Path) -> None:
    """Whatever the YAML names is whole; done again, it names the new one."""
    scenario = _scenario(tmp_path, "traefik")
    copies = _die_everywhere(scenario, tmp_path)
    for copy in copies:
        assert {path.name for path in (copy / "dynamic").iterdir()} <= {"certagent-web.yml"}
        for yaml in (copy / "dynamic").iterdir():
            _assert_pair_matches(*_named_by(yaml))
        deploy(scenario, copy)
        served = _assert_pair_matches(*_named_by(copy / "dynamic" / "certagent-web.yml"))
        assert served == scenario.generations[-1].facts.fingerprint
    print(f"killed at {len(copies)} places")


def test_a_wave_leaves_every_pair_whole(tmp_path: Path) -> None:
    """Three at once, twice; the second time one of them is refused, so that all go back and it is found by halves."""
    private = Authority()
    generations = [one for _ in range(2) for one in private.issue_generations(3, "web.internal")]
    folder = tmp_path / "before"
    (folder / "ssl").mkdir(parents=True)
    for name in WAVE:
        old = private.issue("web.internal")
        (folder / "ssl" / f"{name}.crt").write_bytes(old.chain_pem)
        (folder / "ssl" / f"{name}.key").write_bytes(old.key_pem)
    (tmp_path / "copies").mkdir()
    scenario = Scenario(folder=folder, copies=tmp_path / "copies", kind="wave", generations=generations)
    for copy in _die_everywhere(scenario, tmp_path):
        for name in WAVE:
            _assert_pair_matches(copy / "ssl" / f"{name}.key", copy / "ssl" / f"{name}.crt")
        deploy(scenario, copy)
        for name in WAVE:
            number = "1" if name == REFUSED else "2"
            assert os.readlink(copy / "ssl" / f".certagent-{name}" / "current") == number
            _assert_pair_matches(copy / "ssl" / f"{name}.key", copy / "ssl" / f"{name}.crt")


def _named_by(yaml: Path) -> tuple[Path, Path]:
    words = [word.strip('"') for word in yaml.read_text().split()]
    return Path(words[words.index("keyFile:") + 1]), Path(words[words.index("certFile:") + 1])
