"""`certagent status`: what the agent's document means for a person and for the exit status."""

from typing import Any

import pytest

from certagent.commands import status as command

AT = "2026-11-24T22:10:00.5Z"


def _document(*severities: str, at: str = AT, **more: Any) -> dict[str, Any]:
    certificate = {
        "name": "traefik",
        "manage": True,
        "on_disk": {"fingerprint": "aa", "not_after": "2026-11-25T22:10:00Z"},
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
    return {"fingerprint": "aa", "not_after": "2026-11-25T22:10:00Z", **chain}


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
    assert "traefik: valid until 2026-11-25T22:10:00Z, due" in command.render(_document())
    assert "traefik: EXPIRED 2026-11-25T22:10:00Z, due" in command.render(_document(at="2026-11-26T00:00:00Z"))
    short = command.render(_document(on_disk=_short("2026-11-24T22:00:00Z")))
    assert "traefik: EXPIRED 2026-11-24T22:00:00Z (with CN=Intermediate in its chain), due" in short


def test_what_nobody_here_trusts_is_said_beside_its_address() -> None:
    """And is no failure. An older agent does not say it."""
    assert "  10.0.0.12:443 serves it (trust unverified)" in command.render(_document(unverified=["10.0.0.12:443"]))
    assert command.render(_document()).endswith("10.0.0.12:443 serves it")
