"""What the model says of a request is what a real nginx does with it, over configurations made by chance."""

from pathlib import Path

import pytest

from certagent.domain.observations import ServerAction
from certagent.domain.web_servers.nginx import answers
from certagent.domain.web_servers.nginx_answers import RequestResult
from certagent.domain.web_servers.nginx_variables import Request
from certagent.vantage.nginx_config import read_nginx
from tests.nginx.generator import Ask, Generated, generate
from tests.nginx.real_nginx import CLOSED, REFUSED, Job, Seen, ask, write

_PER_TEST = 80
_UPSTREAMS = {"127.0.0.1:9001": 200, "127.0.0.1:9002": 200, "127.0.0.1:9009": 502}
_NOBODY = RequestResult(action=ServerAction.REFUSES, status=REFUSED)
"""Where no server listens on the port."""


@pytest.mark.slow
@pytest.mark.parametrize("part", range(6))
def test_the_model_agrees_with_nginx(tmp_path: Path, part: int) -> None:
    """Server and location, status, what an upstream is asked; of fewer than one in twenty it does not know, and there
    nginx does one of the things that it holds possible."""
    made = {seed: generate(seed) for seed in range(part * _PER_TEST, (part + 1) * _PER_TEST)}
    jobs = [_job(tmp_path / str(seed), generated) for seed, generated in made.items()]
    asked = unknown = 0
    wrong: list[object] = []
    for job, answered in zip(jobs, ask(jobs), strict=True):
        configuration = read_nginx(Path(job.folder, "nginx.conf")).value
        for one, seen in zip(job.asks, answered or (), strict=answered is not None):
            asked += 1
            said = answers(configuration, _request(one)) or [_NOBODY]
            is_known = len(said) == 1 and said[0].action is not ServerAction.UNKNOWN
            unknown += not is_known
            if _compared(seen) not in map(_shown, said) and not any(one.action is ServerAction.UNKNOWN for one in said):
                wrong.append((job.folder, one, seen, [(one.action, _shown(one)) for one in said]))
    assert not wrong
    assert asked > 100
    assert unknown < 0.05 * asked


def _job(folder: Path, generated: Generated) -> Job:
    write(folder, generated.files)
    return Job(folder=str(folder), asks=generated.asks)


def _request(one: Ask) -> Request:
    # A client of a namespace without routes comes from the address that it asks.
    return Request(name=one.name, address=one.address, client=one.address, exists=frozenset(), upstreams=_UPSTREAMS)


def _shown(answer: RequestResult) -> tuple[object, ...]:
    where = next((word for block in reversed(answer.blocks) for word in _where(block.block)), None)
    upstream = None
    if answer.passed is not None and answer.target is not None:
        upstream = f"{answer.target.partition('://')[2].partition('/')[0].rpartition(':')[2]} {' '.join(answer.passed)}"
    is_silent = answer.status in (CLOSED, REFUSED)
    return (answer.status, None if is_silent else where, upstream)


def _where(block: tuple[object, ...]) -> list[str]:
    return [one.args[1] for one in block if one.name == "add_header" and one.args[0] == "X-Where"]  # type: ignore[attr-defined]


def _compared(seen: Seen) -> tuple[object, ...]:
    return (seen.status, seen.where, seen.upstream)
