"""Traefik's model against a real Traefik: what takes the challenge on port 80, over configurations made by chance."""

from pathlib import Path
from typing import Any

import pytest

from certagent.domain.observations import ServerAction, WebServerObservation
from certagent.domain.web_servers import traefik_routing
from certagent.vantage.traefik_config import read_traefik
from tests.field import real_traefik
from tests.field.traefik_configurations import ASKED, BACKENDS, HOSTS, make_configuration

_BATCH = 30
_MOST_UNKNOWN = 0.05


def _write(folder: Path, seed: int) -> Path:
    (folder / "dynamic").mkdir(parents=True)
    for name, content in make_configuration(seed).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content.replace("DYNAMIC", str(folder / "dynamic")))
    return next(path for path in folder.iterdir() if path.name.startswith("traefik."))


def _agrees(look: WebServerObservation, answer: dict[str, Any], host: str) -> bool:
    status, backend = answer["status"], answer.get("backend")
    match look.action:
        case ServerAction.PASSES:
            is_host = answer.get("host") == host
            return (look.target, look.host is None) == (f"http://127.0.0.1:{backend}", is_host) and answer[
                "path"
            ] == ASKED
        case ServerAction.REWRITES:
            return backend is not None and answer["path"] != ASKED
        case ServerAction.REDIRECTS:
            return status in (301, 302, 307, 308) and answer["location"] == look.target
        case ServerAction.DENIES:
            return status in (401, 403)
        case ServerAction.ANSWERS:
            return backend is None and str(status) == look.target
    return False


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(10))
def test_the_model_agrees_with_a_real_traefik(batch: int, tmp_path: Path) -> None:
    """Who answers, with what, to where; at most one in twenty is not known."""
    seeds = range(batch * _BATCH, (batch + 1) * _BATCH)
    statics = [_write(tmp_path / str(seed), seed) for seed in seeds]
    answers = real_traefik.ask([path.parent for path in statics], HOSTS, BACKENDS)
    wrong, unknown, asked = [], 0, 0
    for static, seen in zip(statics, answers, strict=True):
        if seen is None:  # Traefik itself refuses the static file
            continue
        configuration = read_traefik(static).value
        for host in HOSTS:
            look = traefik_routing.judge(configuration, host)
            assert look is not None, static
            asked += 1
            if look.action is ServerAction.UNKNOWN:
                unknown += 1
            elif not _agrees(look, seen[host], host):
                wrong.append((str(static.parent), host, look.action, look.target, look.place, seen[host]))
    assert wrong == []
    assert unknown <= asked * _MOST_UNKNOWN, f"{unknown} of {asked} unknown"
