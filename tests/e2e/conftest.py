"""The lab, up with certagent in it, green before and after every test that breaks it."""

import json
from collections.abc import Generator, Iterator
from contextlib import suppress

import pytest

from deploy.story import witness
from tests.e2e import guest as visitor
from tests.e2e.fleet import break_with, bring_up, heal_all, is_up, wait_until_green


@pytest.fixture(scope="session")
def lab() -> Iterator[None]:
    """The fleet's life: whatever is up at the end is taken down."""
    yield
    witness.lab("down", show=True)


@pytest.fixture
def green(lab: None) -> Iterator[None]:
    """The fleet as it should be, brought up where it is not; whatever the test breaks is mended, and seen to be."""
    require_lab()
    wait_until_green(120)
    yield
    if not is_up():
        return
    try:
        heal_all()
        wait_until_green(120)
    except BaseException:
        witness.lab("down", check=False, show=True)  # the next test begins with a new one
        raise


@pytest.fixture(scope="module")
def guest(lab: None) -> Iterator[None]:
    """One more node beside the fleet; the lab goes with it, for the collector would miss it."""
    require_lab()
    visitor.bring_in()
    yield
    witness.lab("down", show=True)


def require_lab() -> None:
    """The lab up, or a failure that says why in the lab's own words. Each try takes a minute, and all tests would fail
    alike: after the second one none is made."""
    if is_up():
        return
    if len(_FAILURES) < _MOST_TRIES:
        try:
            bring_up(show=False)
        except witness.Unseen as error:
            _FAILURES.append(str(error))
            witness.lab("down", check=False)
        else:
            return
    pytest.fail(f"The lab does not come up, so nothing can be said of certagent.\n{_FAILURES[-1]}", pytrace=False)


_MOST_TRIES = 2
_MOST_INCIDENTS = 5
_FAILURES: list[str] = []


@pytest.fixture
def fault(request: pytest.FixtureRequest, green: None) -> str:
    """The fleet broken by the fault that the test is parametrized with."""
    name: str = request.param
    break_with(name)
    return name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails in the lab tells what the services said, before the lab is mended or gone."""
    report = yield
    if report.failed and report.when == "call" and item.get_closest_marker("lab") is not None and is_up():
        for node in ("lxc101", "lxc102", "lxc103", "lxc104"):
            said = witness.inside(node, "journalctl", *_LATEST, check=False).stdout
            report.sections.append((f"journal of {node}", said))
        with suppress(witness.Unseen):  # the collector may be what fails
            report.sections.append(
                ("incidents", json.dumps(witness.items("/v1/incidents")[:_MOST_INCIDENTS], indent=1))
            )
    return report


_LATEST = ("--unit=certagent-*", "--lines=12", "--no-pager", "--no-hostname", "--output=short-precise")
