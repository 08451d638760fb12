"""What is served, on disk and proven, compared: each conclusion, and what must stay silent beside it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from certagent.domain.certificates import CertificateFacts
from certagent.domain.deployments import EndpointProof, LivePair, ServedAs
from certagent.domain.diagnosis.drift import (
    CertResolver,
    ConfiguredPair,
    LiveTarget,
    Serving,
    conclude_serving,
    nobody_owns,
    renews_too_late,
)
from certagent.domain.findings import Culprit, TargetState
from tests.certificates import make_facts

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NAME = "nginx.internal"
HOUR = timedelta(hours=1)
FILE = "/etc/nginx/ssl/gateway.crt"


def _facts(
    fingerprint: str = "ours", since: datetime = NOW - HOUR, lifetime: timedelta = 24 * HOUR
) -> CertificateFacts:
    return make_facts(NAME, not_before=since, lifetime=lifetime, fingerprint=fingerprint)


def _live(facts: CertificateFacts | None, **more: object) -> LiveTarget:
    pair = LivePair(file=FILE, key_file="/etc/nginx/ssl/gateway.key", facts=facts, **more)  # type: ignore[arg-type]
    return LiveTarget(target="nginx", pair=pair)


def _seen(facts: CertificateFacts | None, served_as: ServedAs, **more: object) -> EndpointProof:
    return EndpointProof(
        endpoint="10.0.0.153:443",
        server_name=NAME,
        served_as=served_as,
        fingerprint=facts.fingerprint if facts else None,
        leaf=facts,
        **more,  # type: ignore[arg-type]
    )


OURS = _facts()
THEIRS = _facts("theirs")
GOOD = Serving(
    node="lxc101",
    name="gateway",
    identifiers=(NAME,),
    at=NOW,
    proven=OURS,
    live=(_live(OURS),),
    served=(_seen(OURS, ServedAs.PROVEN),),
)


def _codes(**changed: object) -> list[str]:
    return [finding.code for finding in conclude_serving(msgspec.structs.replace(GOOD, **changed))]


def test_what_is_as_it_should_be_is_silent() -> None:
    """Ours, and what others renew, whatever they have there."""
    assert _codes() == []
    assert _codes(manage=False, proven=None) == []
    assert _codes(manage=False, proven=None, live=(_live(None),), served=(_seen(THEIRS, ServedAs.OTHER),)) == []
    assert _codes(proven=None, served=(_seen(OURS, ServedAs.OTHER),)) == []  # before the first proof


def test_drift_on_disk_says_who_and_when() -> None:
    """And once: that it is served, too, follows from it."""
    changed = _live(THEIRS, changed_at=NOW - timedelta(minutes=5), changed_by="www-data")
    serving = msgspec.structs.replace(GOOD, live=(changed,), served=(_seen(THEIRS, ServedAs.OTHER),))
    (finding,) = conclude_serving(serving)
    assert finding.code == "deploy.drift"
    assert finding.culprit is not None
    assert (finding.culprit.node, finding.culprit.file) == ("lxc101", FILE)
    assert "2026-11-24T11:55:00+00:00 and belongs to www-data" in finding.explanation
    assert _codes(live=(_live(None),)) == ["deploy.drift"]


def test_another_certificate_that_is_served_is_drift_of_the_address() -> None:
    """The right one lies on disk; of others' certificates as well."""
    (finding,) = conclude_serving(msgspec.structs.replace(GOOD, served=(_seen(THEIRS, ServedAs.OTHER),)))
    assert finding.code == "deploy.drift"
    assert finding.culprit is not None
    assert finding.culprit.address == "10.0.0.153"
    assert _codes(manage=False, proven=None, served=(_seen(THEIRS, ServedAs.OTHER),)) == ["deploy.drift"]


def test_a_default_certificate_and_none_at_all_are_told_apart() -> None:
    """Each endpoint once, however many names it has; a default certificate's life is nobody's concern."""
    dead = msgspec.structs.replace(_facts("default", NOW - 9 * HOUR, 8 * HOUR), identifiers=("x.traefik.default",))
    twice = (_seen(dead, ServedAs.DEFAULT), _seen(dead, ServedAs.DEFAULT))
    assert _codes(served=twice) == ["deploy.default_certificate"]
    assert _codes(served=(_seen(None, ServedAs.NOTHING, error="refused"),)) == ["deploy.not_served"]


def test_a_key_that_does_not_fit_and_one_that_is_open() -> None:
    """Whoever renews it."""
    assert _codes(live=(_live(OURS, key_fits=False),)) == ["deploy.pair_mismatch"]
    assert _codes(live=(_live(OURS, is_open=True),)) == ["deploy.world_readable"]
    assert _codes(manage=False, proven=None, live=(_live(OURS, is_open=True),)) == ["deploy.world_readable"]


@pytest.mark.parametrize(
    ("code", "variant", "before", "after"),
    [
        ("deploy.pair_mismatch", "live", {"live": (_live(OURS, key_fits=False),)}, {"live": (_live(OURS),)}),
        ("deploy.world_readable", "", {"live": (_live(OURS, is_open=True),)}, {"live": (_live(OURS),)}),
        ("deploy.drift", "", {"live": (_live(THEIRS),)}, {"proven": THEIRS, "live": (_live(THEIRS),)}),
        ("deploy.drift", "served", {"served": (_seen(THEIRS, ServedAs.OTHER),)}, {}),
        ("deploy.not_served", "drift", {"served": (_seen(None, ServedAs.NOTHING, error="refused"),)}, {}),
        ("deploy.default_certificate", "drift", {"served": (_seen(THEIRS, ServedAs.DEFAULT),)}, {}),
    ],
)
def test_what_its_fix_says_ends_a_finding(
    code: str, variant: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """The pair restored or renewed, the mode changed, the service started or reloaded."""
    (finding,) = conclude_serving(msgspec.structs.replace(GOOD, **before))
    assert (finding.code, finding.variant) == (code, variant)
    assert finding.fix
    assert conclude_serving(msgspec.structs.replace(GOOD, **after)) == []


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (timedelta(hours=5), []),
        (timedelta(hours=4), ["cert.expiring"]),
        (timedelta(seconds=1), ["cert.expiring"]),
        (timedelta(0), ["cert.expired"]),
        (timedelta(days=-3), ["cert.expired"]),
    ],
)
@pytest.mark.parametrize("manage", [True, False])
def test_a_life_that_ends_is_told_below_a_fifth(left: timedelta, expected: list[str], manage: bool) -> None:
    """Of 24 hours that is 4.8; whoever renews it."""
    dying = _facts(since=NOW + left - 24 * HOUR)
    proven = dying if manage else None
    assert (
        _codes(manage=manage, proven=proven, live=(_live(dying),), served=(_seen(dying, ServedAs.PROVEN),)) == expected
    )


@pytest.mark.parametrize("manage", [True, False])
def test_a_life_that_ends_is_told_though_nothing_is_served(manage: bool) -> None:
    """The file is named; without a target (somebody fetches it from the state) the certificate alone."""
    dead = _facts(since=NOW - 25 * HOUR)
    proven = dead if manage else None
    gone = _seen(None, ServedAs.NOTHING, error="refused")
    serving = msgspec.structs.replace(GOOD, manage=manage, proven=proven, live=(_live(dead),), served=(gone,))
    found = {finding.code: finding for finding in conclude_serving(serving)}
    assert set(found) == {"deploy.not_served", "cert.expired"}
    assert found["cert.expired"].culprit == Culprit(node=serving.node, file=FILE)
    assert _codes(manage=manage, proven=proven, live=(), served=()) == (["cert.expired"] if manage else [])


@pytest.mark.parametrize(("apart", "expected"), [(HOUR, ["cert.reissue_loop"]), (2 * HOUR, []), (16 * HOUR, [])])
def test_one_after_the_other_is_a_loop(apart: timedelta, expected: list[str]) -> None:
    """Five within a quarter of a life are; five in the time that five are due in are not."""
    seen = tuple(_facts(f"{n}", NOW - (5 - n) * apart) for n in range(5))
    assert _codes(manage=False, proven=None, seen=seen) == expected
    assert _codes(manage=False, proven=None, seen=seen[1:]) == []


@pytest.mark.parametrize(("since", "expected"), [(2 * HOUR, ["cert.reissue_loop"]), (2.1 * HOUR, [])])
def test_a_loop_is_over_when_no_other_comes(since: timedelta, expected: list[str]) -> None:
    """Not only when the next one is due."""
    seen = tuple(_facts(f"{n}", NOW - since - (4 - n) * HOUR) for n in range(5))
    assert _codes(manage=False, proven=None, seen=seen) == expected


def test_what_nobody_owns() -> None:
    """By path or by name it would be owned; it says until when."""
    pair = ConfiguredPair(server="nginx", certificate="/etc/ssl/wiki.crt", names=("wiki.internal",), facts=OURS)
    (finding,) = nobody_owns("lxc101", [pair], frozenset({FILE, NAME}))
    assert (finding.code, finding.identifier) == ("cert.unmanaged", "wiki.internal")
    assert "it expires 2026-11-25" in finding.explanation
    for owned in ({"/etc/ssl/wiki.crt"}, {"wiki.internal"}):
        assert nobody_owns("lxc101", [pair], frozenset(owned)) == []


@pytest.mark.parametrize(
    ("directory", "hours", "is_late"),
    [
        ("https://ca.internal:9000/acme/acme/directory", None, True),
        ("https://ca.internal:9000/acme/acme/directory", 24, False),
        ("https://acme-v02.api.letsencrypt.org/directory", None, False),
        (None, None, False),
    ],
)
def test_traefik_renews_too_late(directory: str | None, hours: int | None, is_late: bool) -> None:
    """Only where it asks a private CA and was not told how long its certificates live."""
    resolver = CertResolver(name="step", file="/etc/traefik/traefik.yml", line=12, directory=directory, hours=hours)
    found = renews_too_late("lxc102", resolver)
    assert (found is not None) is is_late
    if found is not None:
        assert found.culprit is not None
        assert (found.code, found.culprit.line) == ("traefik.renews_too_late", 12)


SHORT = msgspec.structs.replace(OURS, chain_ends_at=NOW + 2 * HOUR, chain_ends_with="CN=Intermediate")
CA_FILE = Culprit(node="lxc103", file="/etc/step-ca/certs/intermediate_ca.crt", role="authority")


def test_a_chain_that_ends_first_is_told_at_the_ca_s_file() -> None:
    """When it ends, and whose certificate it is; as long as it lives, it is no refusal."""
    serving = msgspec.structs.replace(
        GOOD, proven=SHORT, live=(_live(SHORT),), served=(_seen(SHORT, ServedAs.PROVEN),), issuer=CA_FILE
    )
    (finding,) = conclude_serving(serving)
    assert (finding.code, finding.culprit) == ("cert.chain_ends_first", CA_FILE)
    assert finding.detail["chain_ends_at"] == (NOW + 2 * HOUR).isoformat()
    assert "CN=Intermediate in its chain expires" in finding.explanation
    assert finding.fix is not None
    assert "(/etc/step-ca/certs/intermediate_ca.crt on lxc103)" in finding.fix
    later = conclude_serving(msgspec.structs.replace(serving, at=NOW + 3 * HOUR))
    assert {(one.code, one.culprit) for one in later} == {
        ("cert.expired", CA_FILE),
        ("cert.chain_ends_first", CA_FILE),
    }


def test_without_anybody_beside_the_ca_the_ca_is_named() -> None:
    """No file then, and no node."""
    serving = msgspec.structs.replace(GOOD, served=(_seen(SHORT, ServedAs.PROVEN),))
    (finding,) = conclude_serving(serving)
    assert finding.culprit == Culprit(role="authority")


@pytest.mark.parametrize("distrust", ["untrusted", "name_mismatch", "expired", "out_of_order"])
def test_a_chain_that_a_client_refuses_is_told_once_per_endpoint(distrust: str) -> None:
    """With the address, and what to do about it."""
    refused = msgspec.structs.replace(_seen(OURS, ServedAs.REFUSED), distrust=distrust, detail="as OpenSSL says it")
    (finding,) = conclude_serving(msgspec.structs.replace(GOOD, served=(refused, refused)))
    assert (finding.code, finding.variant) == ("cert.chain_refused", distrust)
    assert finding.fix
    assert "as OpenSSL says it" in finding.explanation


def test_a_chain_is_judged_though_nobody_knows_which_certificate_should_be_there() -> None:
    """Traefik's own ACME keeps it where nobody else reads it."""
    for distrust, expected in (("out_of_order", ["cert.chain_refused"]), ("untrusted", []), (None, [])):
        seen = msgspec.structs.replace(_seen(OURS, ServedAs.OTHER), distrust=distrust)
        assert _codes(manage=False, proven=None, live=(), served=(seen,)) == expected


def test_a_watched_certificate_that_nobody_here_trusts_is_no_finding() -> None:
    """Said in the proof, and no failure."""
    untrusted = msgspec.structs.replace(_seen(OURS, ServedAs.PROVEN), distrust="untrusted")
    assert _codes(manage=False, proven=None, live=(_live(OURS),), served=(untrusted,)) == []


def test_a_name_that_was_just_added_is_no_fault_of_what_is_served() -> None:
    """The certificate that is for it is due now; of a name that the proven one is for, it is one."""
    refused = msgspec.structs.replace(
        _seen(OURS, ServedAs.REFUSED), distrust="name_mismatch", server_name="new.internal"
    )
    names = (NAME, "new.internal")
    assert _codes(identifiers=names, served=(refused,)) == []
    served = msgspec.structs.replace(refused, server_name=NAME)
    assert _codes(identifiers=names, served=(served,)) == ["cert.chain_refused"]


def test_what_is_wrong_at_an_endpoint_is_told_of_its_target() -> None:
    """With what is served there, and until when."""
    nothing = msgspec.structs.replace(_seen(None, ServedAs.NOTHING), error="refused")
    serving = msgspec.structs.replace(GOOD, served=(nothing,), targets={"10.0.0.153:443": "nginx"})
    (finding,) = conclude_serving(serving)
    assert finding.target == TargetState(certificate="gateway", name="nginx", is_served=False)
    other = msgspec.structs.replace(serving, served=(_seen(THEIRS, ServedAs.OTHER),))
    (finding,) = conclude_serving(other)
    until = THEIRS.not_after
    assert finding.target == TargetState(certificate="gateway", name="nginx", is_served=True, served_until=until)
