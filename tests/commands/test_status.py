"""`certagent status`: what the agent's document means for a person and for the exit status."""

from typing import Any

import pytest

from certagent.commands import renew as renewal
from certagent.commands import status as command

AT = "2026-11-24T22:10:00.5Z"


def _document(*severities: str, at: str = AT, **more: Any) -> dict[str, Any]:
    certificate = {
        "name": "traefik",
        "identifiers": ["traefik.test", "www.test"],
        "manage": True,
        "on_disk": {"fingerprint": "aa", "issuer": "CN=Lab Intermediate CA", "not_after": "2026-11-25T22:10:00Z"},
        "served": {"10.0.0.12:443": "aa"},
        "due_at": "2026-11-25T06:10:00Z",
        "last_outcome": "done",
    }
    findings = [
        {"severity": one, "code": "deploy.not_served", "explanation": "nothing", "culprit": None} for one in severities
    ]
    return {
        "agent": "lxc102",
        "at": at,
        "certificates": [certificate | more],
        "reports_waiting": 0,
        "findings": findings,
    }


def _short(ends_at: str) -> dict[str, str]:
    """A certificate that lives for long, in a chain that does not."""
    chain = {"chain_ends_at": ends_at, "chain_ends_with": "CN=Intermediate"}
    return {"fingerprint": "aa", "issuer": "CN=Intermediate", "not_after": "2026-11-25T22:10:00Z", **chain}


@pytest.mark.parametrize(
    ("document", "status"),
    [
        (_document(), 0),
        (_document(last_outcome="found"), 0),
        (_document(last_outcome=None), 0),
        (_document(last_outcome="blocked"), 4),
        (_document(last_outcome="failed"), 4),
        (_document(last_outcome="failed", manage=False), 0),
        (_document(on_disk=None), 3),
        (_document(served={"10.0.0.12:443": "bb"}), 3),
        (_document(served={"10.0.0.12:443": None}), 3),
        (_document(on_disk=_short("2026-11-24T22:10:00Z")), 4),
        (_document(on_disk=_short("2026-11-24T23:10:00Z")), 0),
        (_document(unverified=["10.0.0.12:443"]), 0),
        (_document("error", served={"10.0.0.12:443": None}), 4),
        (_document("warn"), 3),
        (_document(at="2026-11-25T22:10:00Z"), 4),
        (_document(at="2026-11-25T22:10:00Z", manage=False), 4),
        ({"agent": "lxc103", "at": AT, "certificates": [], "reports_waiting": 0, "findings": []}, 0),
    ],
)
def test_the_worst_of_all_decides(document: dict[str, Any], status: int) -> None:
    """Expired, blocked or failed is 4, as in the contract; what others renew has no outcome of ours."""
    assert command.exit_status(document) == status


def test_what_has_expired_is_said_so() -> None:
    """In its line, by the agent's clock."""
    assert ": valid until 2026-11-25 22:10 UTC, due" in command.render(_document())
    assert ": EXPIRED 2026-11-25 22:10 UTC, due" in command.render(_document(at="2026-11-26T00:00:00Z"))
    short = command.render(_document(on_disk=_short("2026-11-24T22:00:00Z")))
    assert ": EXPIRED 2026-11-24 22:00 UTC (with CN=Intermediate in its chain), due" in short


def test_what_nobody_here_trusts_is_said_beside_its_address() -> None:
    """And is no failure. An older agent does not say it."""
    told = command.render(_document(unverified=["10.0.0.12:443"]))
    assert "  10.0.0.12:443 serves this certificate (trust unverified)" in told
    assert command.render(_document()).endswith("10.0.0.12:443 serves this certificate")


def test_a_certificate_is_told_whole() -> None:
    """Its names, who renews it, when, who issued it, and what every address serves."""
    served = {"10.0.0.12:443": "aa", "10.0.0.13:443": "b" * 64, "10.0.0.14:443": None}
    assert command.render(_document(served=served)).splitlines()[1:] == [
        "traefik (traefik.test, www.test): valid until 2026-11-25 22:10 UTC, due 2026-11-25 06:10 UTC;"
        " renewed by certagent, last outcome: done",
        "  issued by CN=Lab Intermediate CA; fingerprint aa…",
        "  10.0.0.12:443 serves this certificate",
        "  10.0.0.13:443 serves another one: bbbbbbbbbbbbbbbb…",
        "  10.0.0.14:443 serves nothing",
    ]
    assert "only watched, not renewed by certagent" in command.render(_document(manage=False))
    assert "renewed by certagent, no outcome yet" in command.render(_document(last_outcome=None))


@pytest.mark.parametrize(("severities", "first"), [((), "traefik: done"), (("warn",), "traefik: done, with warnings")])
def test_a_renewal_shows_what_is_served_now(severities: tuple[str, ...], first: str) -> None:
    """As `certagent status` does; a status that cannot be had, or a renewal that was blocked, shows none."""
    state = _document(*severities)
    findings = state["findings"]
    renewed = {"name": "traefik", "outcome": "done", "findings": findings, "state": state["certificates"][0]}
    told = renewal.render({"certificates": [renewed]}).splitlines()
    assert told[0] == first
    assert told[2] == "  10.0.0.12:443 serves this certificate"
    for changed in ({"state": None}, {"outcome": "blocked"}):
        assert "serves" not in renewal.render({"certificates": [renewed | changed]})
