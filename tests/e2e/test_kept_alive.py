"""The founding failure while a certificate is due: it lives on by mTLS, and nobody is told that all is well."""

from collections.abc import Iterator
from typing import Any

import pytest

from deploy.story import witness
from tests.e2e import fleet
from tests.e2e.fleet import SEED, TRAEFIK, until

pytestmark = pytest.mark.lab

POLICY = "[renewal]\\ndue_after = 0.0001\\njitter = 0.0\\nunchallenged_in_a_row = 2\\n"
"""Everything is due, always; two renewals without a challenge, and no more."""


@pytest.fixture
def due(green: None) -> Iterator[None]:
    """lxc102 with that policy, its agent stopped for the moment; as before at the end."""
    witness.inside("lxc102", "sh", "-c", _USE_POLICY, "sh", POLICY)
    yield
    witness.inside("lxc102", "sh", "-c", _AS_BEFORE)


def test_what_is_due_is_kept_alive_while_the_incident_stays_open(due: None) -> None:
    """Renewed by mTLS, served, reported as such; capped in number; and by a challenge again once the line is gone."""
    before, orders = witness.served("10.0.0.12", TRAEFIK), witness.orders()
    fleet.break_with(SEED)
    incident = until("an incident is open", 20, lambda: next(iter(witness.open_incidents()), None))
    witness.inside("lxc102", "systemctl", "start", "certagent-agent")
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
def forbidden(due: None) -> Iterator[None]:
    """The CA's provisioner renews nothing without a challenge."""
    witness.inside("lxc103", "sh", "-c", _FORBID)
    yield
    witness.inside("lxc103", "sh", "-c", _ALLOW)


def test_a_ca_that_forbids_it_is_named_and_the_certificate_stays(forbidden: None) -> None:
    """Blocked as before, with the setting to change; what is served is what was."""
    before = witness.served("10.0.0.12", TRAEFIK)
    fleet.break_with(SEED)
    witness.inside("lxc102", "systemctl", "start", "certagent-agent")
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
systemctl restart step-ca
"""
_ALLOW = """
mv /root/ca.json.before /etc/step-ca/ca.json
systemctl restart step-ca
"""


def _kept() -> list[dict[str, Any]]:
    return [one for one in witness.items("/v1/reports") if one["agent"] == "lxc102" and one["outcome"] == "kept"]


_USE_POLICY = """
systemctl stop certagent-agent
cp -p /etc/certagent/agent.toml /root/agent.toml.before
printf "$1" >/etc/certagent/policy.toml
sed -i '/^state = /a policy = "/etc/certagent/policy.toml"' /etc/certagent/agent.toml
"""

_AS_BEFORE = """
cp -p /root/agent.toml.before /etc/certagent/agent.toml
rm -f /root/agent.toml.before /etc/certagent/policy.toml
systemctl restart certagent-agent
"""
