"""The founding failure while a certificate is due: it lives on by mTLS, and nobody is told that all is well."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.story import witness
from tests.e2e import fleet
from tests.e2e.fleet import SEED, TRAEFIK, until
from tests.e2e.plain import ask_plainly
from tests.e2e.policies import start, with_policy

pytestmark = pytest.mark.lab

POLICY = "[renewal]\ndue_after = 0.0001\njitter = 0.0\nunchallenged_in_a_row = {}\n"
"""Everything is due, always; so many renewals without a challenge, and no more."""


@pytest.fixture
def due(green: None) -> Iterator[None]:
    """lxc102 with that policy, its agent stopped for the moment; as before at the end."""
    with with_policy("lxc102", POLICY.format(2)):
        yield


def test_what_is_due_is_kept_alive_while_the_incident_stays_open(due: None) -> None:
    """Renewed by mTLS, served, reported as such; capped in number; and by a challenge again once the line is gone."""
    before, orders = witness.served("10.0.0.12", TRAEFIK), witness.orders()
    fleet.break_with(SEED)
    incident = until("an incident is open", 20, lambda: next(iter(witness.open_incidents()), None))
    start("lxc102")
    report = until("a renewal was kept", 30, lambda: next(iter(_kept()), None))
    assert [finding["code"] for finding in report["findings"]] == ["renewal.unchallenged"]
    assert report["findings"][0]["culprit"]["node"] == "lxc103"
    kept = witness.served("10.0.0.12", TRAEFIK)
    assert kept != before

    status, document = witness.certagent("lxc102", "renew", "traefik")
    (renewed,) = document["certificates"]
    assert (status, renewed["outcome"]) == (3, "kept"), document
    assert witness.served("10.0.0.12", TRAEFIK) == renewed["fingerprint"] != kept
    status, document = witness.certagent("lxc102", "renew", "traefik")
    (refused,) = document["certificates"]
    assert (status, refused["outcome"]) == (4, "blocked"), document
    assert "renewal.limit_reached" in {finding["code"] for finding in refused["findings"]}
    assert witness.served("10.0.0.12", TRAEFIK) == renewed["fingerprint"]
    assert incident["id"] in {one["id"] for one in witness.open_incidents()}
    assert witness.orders() == orders

    fleet.heal(SEED)
    until("a challenge was passed", 120, lambda: witness.orders() > orders)
    until("another one is served", 60, lambda: witness.served("10.0.0.12", TRAEFIK) != renewed["fingerprint"])
    until("nothing is open", 60, lambda: not witness.open_incidents())


@pytest.fixture
def due_and_stuck(green: None) -> Iterator[None]:
    """lxc102 likewise, without any renewal but by a challenge."""
    with with_policy("lxc102", POLICY.format(0)):
        yield


@pytest.mark.timeout(400)
def test_after_the_mend_it_is_renewed_within_two_minutes(due_and_stuck: None) -> None:
    """By itself, although the CA holds a connection to the wrong box, and without a restart of the CA."""
    pid, before = fleet.authority_pid(), witness.served("10.0.0.12", TRAEFIK)
    fleet.break_with(SEED)
    until(
        "the CA holds a connection to the gateway", 30, lambda: _is_refused() and fleet.held_by_authority("10.0.0.153")
    )
    start("lxc102")
    until("the renewal is withheld", 30, lambda: _last_renewal() == "blocked")
    time.sleep(30)  # retries have become rare
    assert (_last_renewal(), witness.served("10.0.0.12", TRAEFIK)) == ("blocked", before)
    fleet.heal(SEED)
    mended = time.monotonic()
    until("it is renewed", 120, lambda: witness.served("10.0.0.12", TRAEFIK) != before)
    print(f"renewed {time.monotonic() - mended:.1f} s after the mend")
    assert fleet.authority_pid() == pid


def _is_refused() -> bool:
    return not ask_plainly(TRAEFIK, port=5099)["issued"]


def _last_renewal() -> str:
    reports = (one for one in witness.items("/v1/reports") if one["agent"] == "lxc102" and one["kind"] == "renewal")
    return str(next(reports)["outcome"])


@pytest.fixture
def forbidden(due: None) -> Iterator[None]:
    """The CA's provisioner renews nothing without a challenge."""
    witness.inside("lxc103", "sh", "-euc", _FORBID)
    fleet.restart_ca()
    yield
    witness.inside("lxc103", "sh", "-euc", _ALLOW)
    fleet.restart_ca()


def test_a_ca_that_forbids_it_is_named_and_the_certificate_stays(forbidden: None) -> None:
    """Blocked as before, with the setting to change; what is served is what was."""
    before = witness.served("10.0.0.12", TRAEFIK)
    fleet.break_with(SEED)
    start("lxc102")
    status, document = until("the agent answers", 30, _renewed)
    (refused,) = document["certificates"]
    assert (status, refused["outcome"]) == (4, "blocked"), document
    finding = next(one for one in refused["findings"] if one["code"] == "renewal.forbidden")
    assert "disableRenewal" in finding["fix"]
    assert witness.served("10.0.0.12", TRAEFIK) == before


def _renewed() -> tuple[int, dict[str, Any]] | None:
    try:
        return witness.certagent("lxc102", "renew", "traefik")
    except witness.Unseen:
        return None


_FORBID = """
cp -p /etc/step-ca/ca.json /root/ca.json.before
sed -i 's/"defaultTLSCertDuration"/"disableRenewal": true, &/' /etc/step-ca/ca.json
grep -q disableRenewal /etc/step-ca/ca.json
"""
_ALLOW = "mv /root/ca.json.before /etc/step-ca/ca.json"


def _kept() -> list[dict[str, Any]]:
    return [one for one in witness.items("/v1/reports") if one["agent"] == "lxc102" and one["outcome"] == "kept"]
