"""What Traefik is given to read. Traefik itself is met in the lab."""

import os
from pathlib import Path

import pytest
import yaml

from certagent.config import TraefikTarget
from certagent.deployers.deploy import make_target
from certagent.deployers.target import Target
from certagent.domain.deployments import Generation, RollbackResult
from tests.certificates import Authority
from tests.deployers.reloads import RELOADS


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    """The file provider's directory."""
    path = tmp_path / "dynamic"
    path.mkdir()
    return path


@pytest.fixture
def target(dynamic: Path) -> Target:
    """Traefik as configured."""
    return make_target("traefik", TraefikTarget(dynamic=dynamic), RELOADS)


@pytest.fixture(scope="module")
def generations() -> list[Generation]:
    """Three renewals."""
    return list(Authority().issue_generations(3, "traefik.internal"))


def _named(dynamic: Path) -> dict[str, str]:
    (only,) = yaml.safe_load((dynamic / "certagent-traefik.yml").read_text())["tls"]["certificates"]
    return dict(only)


def test_the_yaml_names_a_whole_generation(target: Target, dynamic: Path, generations: list[Generation]) -> None:
    """Outside of what Traefik watches, and nothing else appears there."""
    folder = target.stage(generations[0])
    assert not list(dynamic.iterdir())
    target.promote(generations[0])
    assert [path.name for path in dynamic.iterdir()] == ["certagent-traefik.yml"]
    assert _named(dynamic) == {"certFile": f"{folder}/fullchain.pem", "keyFile": f"{folder}/privkey.pem"}
    assert folder == dynamic.parent / "certagent" / "traefik" / "1"
    assert (folder / "privkey.pem").read_bytes() == generations[0].key_pem


def test_promoting_again_is_a_trigger_again(target: Target, dynamic: Path, generations: list[Generation]) -> None:
    """The same content in a new file: Traefik reads the pair again."""
    target.stage(generations[0])
    target.promote(generations[0])
    first = (dynamic / "certagent-traefik.yml").stat().st_ino
    before = os.listdir(dynamic)
    target.promote(generations[0])
    assert (dynamic / "certagent-traefik.yml").stat().st_ino != first
    assert os.listdir(dynamic) == before


def test_it_goes_back_to_what_was_settled(target: Target, dynamic: Path, generations: list[Generation]) -> None:
    """From the first generation to no YAML at all, later to the one before."""
    assert target.roll_back() is None
    target.stage(generations[0])
    target.promote(generations[0])
    assert target.roll_back() == RollbackResult(None)
    assert not list(dynamic.iterdir())
    for generation in generations[:2]:
        target.stage(generation)
        target.promote(generation)
        target.settle(generation)
    assert target.roll_back() is None
    target.stage(generations[2])
    target.promote(generations[2])
    assert target.roll_back() == RollbackResult(generations[1].facts.fingerprint)
    assert _named(dynamic)["certFile"].endswith("/2/fullchain.pem")


@pytest.mark.parametrize("settled", [0, 1])
def test_it_does_not_go_back_over_what_somebody_else_wrote(
    target: Target, dynamic: Path, generations: list[Generation], settled: int
) -> None:
    """While the new one was being proven, say; nor is that removed where there was nothing before."""
    for generation in generations[: settled + 1]:
        target.stage(generation)
        target.promote(generation)
        if generation in generations[:settled]:
            target.settle(generation)
    (dynamic / "certagent-traefik.yml").write_text("# by a role\n")
    assert target.roll_back() is None
    assert (dynamic / "certagent-traefik.yml").read_text() == "# by a role\n"


def test_what_somebody_else_wrote_in_place_of_our_yaml_is_kept(
    target: Target, dynamic: Path, generations: list[Generation]
) -> None:
    """Beside the generations, where Traefik reads nothing; of our own nothing is kept."""
    kept = dynamic.parent / "certagent" / "traefik" / "before.certagent-traefik.yml"
    for generation in generations[:2]:
        target.stage(generation)
        target.promote(generation)
    assert not kept.exists()
    (dynamic / "certagent-traefik.yml").write_text("# by a role\n")
    target.promote(generations[1])
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("# by a role\n", 0o600)
    assert _named(dynamic)["certFile"].endswith("/2/fullchain.pem")


def test_the_generations_may_lie_elsewhere(dynamic: Path, tmp_path: Path, generations: list[Generation]) -> None:
    """As `certificates` says."""
    elsewhere = TraefikTarget(dynamic=dynamic, certificates=tmp_path / "elsewhere")
    assert make_target("traefik", elsewhere, RELOADS).stage(generations[0]) == tmp_path / "elsewhere" / "traefik" / "1"
