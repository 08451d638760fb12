"""What every run of the tests has in common: its tier, its seed, a lab of its own for each worker, and where time went.

Importing this comes before everything that knows where a lab lies.
"""

import os
from collections.abc import Iterable

import pytest

if (worker := os.environ.get("PYTEST_XDIST_WORKER")) is not None:
    os.environ["CERTAGENT_LAB_NAME"] = f"certagent-lab-{worker}"

from tests.tiers import Tier, Tiers
from tests.workers import LabScheduling

TIERS = pytest.StashKey[Tiers]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The tier and the seed of its samples, and how many workers may have a lab."""
    group = parser.getgroup("certagent")
    group.addoption("--tier", choices=[tier.value for tier in Tier], default=Tier.ALL.value, help="what is run")
    group.addoption("--seed", type=int, default=None, help="what the samples of the plain tier are drawn by")
    group.addoption("--labs", type=int, default=1, help="how many workers may bring up a lab")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """The same seed for every worker."""
    tiers = Tiers.load(Tier(config.option.tier), config.option.seed)
    config.option.seed = tiers.seed
    config.stash[TIERS] = tiers


def pytest_report_header(config: pytest.Config) -> str:
    """How to run the same samples again."""
    tiers = config.stash[TIERS]
    return f"tier {tiers.tier}, --seed {tiers.seed}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the tier does not run, and begin with what takes longest."""
    tiers = config.stash[TIERS]
    chosen = tiers.choose(items)
    left_out = [item for item in items if item not in chosen]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    items[:] = tiers.in_order(chosen)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LabScheduling | None:
    """Files stay whole, and labs few; without labs as `--dist` says."""
    return LabScheduling(config, log) if config.option.labs else None


@pytest.fixture(scope="session")
def tiers(request: pytest.FixtureRequest) -> Tiers:
    """For tests that are a family in themselves: how much of it this tier runs."""
    return request.config.stash[TIERS]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where the time went, by family; and the seed once more, where a person looks."""
    reports = [one for kept in terminalreporter.stats.values() for one in kept if isinstance(one, pytest.TestReport)]
    terminalreporter.section("time by family")
    for family, (count, seconds) in _by_family(reports):
        terminalreporter.write_line(f"{seconds:8.1f} s {count:5}  {family}")
    tiers = terminalreporter.config.stash[TIERS]
    terminalreporter.write_line(f"tier {tiers.tier}; the same samples again: --seed {tiers.seed}")


def _by_family(reports: Iterable[pytest.TestReport]) -> list[tuple[str, tuple[int, float]]]:
    """Folder (below e2e and lab: file) -> tests and seconds, the longest first."""
    families: dict[str, tuple[int, float]] = {}
    for report in reports:
        path = report.nodeid.partition("::")[0]
        name = path if path.startswith(("tests/e2e/", "tests/lab/")) else path.rpartition("/")[0]
        count, seconds = families.get(name, (0, 0.0))
        families[name] = (count + (report.when == "call"), seconds + report.duration)
    return sorted(families.items(), key=lambda item: -item[1][1])
