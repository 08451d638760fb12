"""The rehearsal beside a CA, on a node made of namespaces: the founding failure, and what must stay silent."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from certagent.domain.rehearsals import Rehearsal
from tests.vantage.stage import CA_NAME, NAME, POISON

pytestmark = pytest.mark.lab

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What the stage saw."""
    command = ["unshare", "-m", "-n", sys.executable, "-m", "tests.vantage.stage"]
    finished = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, timeout=120)
    document: dict[str, Any] = json.loads(finished.stdout)
    return document


def test_the_healthy_path_passes(seen: dict[str, Any]) -> None:
    """DNS leads to the responder."""
    assert seen["healthy"]["outcome"] == "passed"
    assert seen["healthy"]["resolution"]["addresses"][0]["origin"]["nameserver"] == "127.0.0.1"


def test_the_founding_failure_is_seen_to_the_line(seen: dict[str, Any]) -> None:
    """The hosts line decides, DNS says otherwise, and the box that answered is named."""
    poisoned = seen["poisoned"]
    assert poisoned["outcome"] == "failed"
    used = poisoned["resolution"]["addresses"][0]
    assert (used["address"], used["origin"]["file"], used["origin"]["line"]) == ("10.0.0.153", "/etc/hosts", 3)
    assert used["origin"]["text"] == POISON.rstrip("\n")
    assert poisoned["resolution"]["dns"][0]["addresses"] == ["10.0.0.12"]
    assert poisoned["attempts"][0]["hops"][0]["server"] == "nginx"
    assert poisoned["settles_at"] is not None


def test_the_poisoned_line_does_not_matter_with_dns_first(seen: dict[str, Any]) -> None:
    """`dns files` in nsswitch.conf."""
    assert seen["dns_first"]["outcome"] == "passed"
    assert seen["dns_first"]["resolution"]["hosts"][0]["address"] == "10.0.0.153"


def test_the_mended_path_passes_again(seen: dict[str, Any]) -> None:
    """Without a restart of anything."""
    assert seen["mended"]["outcome"] == "passed"


def test_the_watch_sees_the_fleet_s_names_and_what_is_its_own(seen: dict[str, Any]) -> None:
    """The CA's own name on loopback is there, recognisable; a removed line's name is looked at once more."""
    assert [one["name"] for one in seen["observed"]] == [CA_NAME, NAME]
    addresses, names = seen["own"]
    assert "10.0.0.10" in addresses
    assert names == [CA_NAME]
    assert seen["after"] == [CA_NAME, NAME]


def test_a_name_on_loopback_is_refused_without_a_connection(seen: dict[str, Any]) -> None:
    """Nothing listens on 127.0.1.1: the CA would be refused."""
    assert seen["loopback"]["outcome"] == "failed"
    assert seen["loopback"]["attempts"][0]["hops"][0]["errno"] == "ECONNREFUSED"


def test_rehearsals_are_documents(seen: dict[str, Any]) -> None:
    """What was seen can be sent as it is."""
    import msgspec

    assert msgspec.convert(seen["poisoned"], Rehearsal, strict=False).identifier == NAME
