"""What explains a verdict: the sides of a name, the CA's configuration, the web server's files; what stays silent."""

from datetime import UTC, datetime

import msgspec
import pytest

from certagent.config import load_policy
from certagent.domain.diagnosis import conclude
from certagent.domain.diagnosis.evidence import DirectoryCheck, Evidence, ResponderCheck
from certagent.domain.findings import Culprit, Finding, Verdict
from certagent.domain.observations import Misconfiguration, NodeObservation, Place, ServerAction, WebServerObservation
from certagent.domain.policy import judged
from certagent.domain.rehearsals import (
    AddressOwner,
    Attempt,
    DnsAnswer,
    Hop,
    LibcAnswer,
    Origin,
    Provisioner,
    Rehearsal,
    RehearsalOutcome,
    Resolution,
    ResolvedAddress,
)

NAME, NODE, OWN, OTHER, DNS, SECOND = "app.lan.test", "lxc102", "10.0.0.12", "10.0.0.153", "10.0.0.2", "10.0.0.3"
FROM_DNS = Origin(source="dns", nameserver=DNS, asked=f"{NAME}.")
NAMESERVERS = tuple(
    Origin(source="resolv.conf", file="/etc/resolv.conf", line=line, text=f"nameserver {one}", nameserver=one)
    for line, one in ((2, DNS), (3, SECOND))
)


def _said(server: str, *addresses: str, status: str = "ok", record: str = "A") -> DnsAnswer:
    return DnsAnswer(nameserver=server, name=f"{NAME}.", record=record, status=status, addresses=addresses)


def _hosts(line: int, address: str) -> ResolvedAddress:
    text = f"{address} {NAME}"
    return ResolvedAddress(address=address, origin=Origin(source="hosts", file="/etc/hosts", line=line, text=text))


GOOD = Resolution(
    name=NAME,
    addresses=(ResolvedAddress(address=OWN, origin=FROM_DNS),),
    dns=(_said(DNS, OWN),),
    nameservers=NAMESERVERS[:1],
)


def _evidence(
    resolution: Resolution = GOOD, outcome: RehearsalOutcome = RehearsalOutcome.PASSED, **more: object
) -> Evidence:
    """A rehearsal that met the node's own address, and answered 200 or 404."""
    address = resolution.addresses[0].address if resolution.addresses else None
    passed = outcome is RehearsalOutcome.PASSED
    hop = Hop(url=f"http://{NAME}/", name=NAME, address=address, status=200 if passed else 404)
    rehearsal = Rehearsal(
        identifier=NAME,
        outcome=outcome,
        at=datetime(2026, 11, 24, tzinfo=UTC),
        node="lxc103",
        resolution=resolution,
        attempts=(Attempt(hops=(hop,), matched=passed),) if address else (),
        owners={OTHER: AddressOwner(node="lxc101", role="gateway"), DNS: AddressOwner(node="lxc101", role="gateway")},
    )
    fields = set(Rehearsal.__struct_fields__)
    rehearsal = msgspec.structs.replace(rehearsal, **{key: one for key, one in more.items() if key in fields})
    rest = {key: one for key, one in more.items() if key not in fields}
    return msgspec.structs.replace(Evidence(identifier=NAME, node=NODE, addresses=(OWN,), rehearsal=rehearsal), **rest)


def _found(evidence: Evidence) -> dict[str, Finding]:
    return {finding.code: finding for finding in conclude(evidence)}


def _with(**changes: object) -> Resolution:
    return msgspec.structs.replace(GOOD, **changes)


def test_the_ca_s_own_node_is_to_blame_for_what_never_leaves_it() -> None:
    """A route or a filter of its own; the same silence on the way is the other box's."""
    hop = Hop(url=f"http://{NAME}/", name=NAME, address=OWN, error="timeout", errno="ETIMEDOUT")
    for is_local, node in ((True, "lxc103"), (False, NODE)):
        attempts = (Attempt(hops=(msgspec.structs.replace(hop, is_local=is_local),)),)
        finding = _found(_evidence(GOOD, RehearsalOutcome.FAILED, attempts=attempts))["net.timeout"]
        assert finding.culprit is not None
        assert (finding.culprit.node, finding.culprit.address) == (node, OWN)
        assert (finding.fix or "").startswith(f"On {node}") is is_local


def test_silence_decides_before_an_address_without_a_route() -> None:
    """The CA's 30 s run out over the first address; that the second one leads nowhere is beside the point."""
    silent = Hop(url=f"http://{NAME}/", name=NAME, address=OWN, error="timeout")
    unrouted = Hop(url=f"http://{NAME}/", name=NAME, address="fd00::12", error="no_route", is_local=True)
    attempts = (Attempt(hops=(silent,)), Attempt(hops=(unrouted,)))
    found = _found(_evidence(GOOD, RehearsalOutcome.FAILED, attempts=attempts))
    assert "net.no_route" not in found
    assert found["net.timeout"].culprit is not None
    assert found["net.timeout"].culprit.address == OWN


@pytest.mark.parametrize(("direct_status", "first"), [(404, "http01.not_found"), (None, "ca.uses_proxy")])
def test_a_proxy_is_not_to_blame_for_what_fails_without_it(direct_status: int | None, first: str) -> None:
    """The same answer either way is the box's; only through the proxy it is the proxy's."""
    through = Hop(url=f"http://{NAME}/", name=NAME, address="127.0.0.1", status=502)
    straight = Hop(url=f"http://{NAME}/", name=NAME, address=OWN, status=direct_status or 200)
    evidence = _evidence(
        GOOD,
        RehearsalOutcome.FAILED,
        proxy="http://127.0.0.1:8888",
        attempts=(Attempt(hops=(through,)),),
        direct=(Attempt(hops=(straight,), matched=direct_status is None),),
    )
    judgement = judged(load_policy(None), NAME, conclude(evidence), evidence.rehearsal)
    assert judgement.findings[0].code == first
    assert "ca.uses_proxy" in {finding.code for finding in judgement.findings}


SIDES = [
    ("dns.hosts_conflict", _with(hosts=(_hosts(3, OWN), _hosts(9, OTHER))), ("lxc103", "/etc/hosts", 9)),
    ("dns.hosts_duplicate", _with(hosts=(_hosts(3, OWN), _hosts(9, OWN))), ("lxc103", "/etc/hosts", 9)),
    (
        "dns.resolver_dead",
        _with(nameservers=NAMESERVERS, dns=(_said(DNS, OWN), _said(SECOND, status="timeout"))),
        ("lxc103", "/etc/resolv.conf", 3),
    ),
    (
        "dns.resolver_not_internal",
        _with(nameservers=NAMESERVERS, dns=(_said(DNS, OWN), _said(SECOND, status="nxdomain"))),
        ("lxc103", "/etc/resolv.conf", 3),
    ),
    (
        "dns.resolver_public",
        _with(nameservers=(msgspec.structs.replace(NAMESERVERS[0], nameserver="8.8.8.8"),)),
        ("lxc103", "/etc/resolv.conf", 2),
    ),
    ("dns.split_horizon", _with(dns=(_said(DNS, OWN), _said(SECOND, OTHER))), ("lxc101", None, None)),
    (
        "dns.multi_address",
        _with(addresses=(GOOD.addresses[0], msgspec.structs.replace(GOOD.addresses[0], address=OTHER))),
        ("lxc101", None, None),
    ),
    ("dns.aaaa_nxdomain", _with(dns=(_said(DNS, OWN), _said(DNS, status="nxdomain", record="AAAA"))), None),
    (
        "dns.search_expansion",
        _with(
            addresses=(
                ResolvedAddress(address=OTHER, origin=Origin(source="dns", nameserver=DNS, asked=f"{NAME}.corp.")),
            )
        ),
        ("lxc103", "/etc/resolv.conf", None),
    ),
]


@pytest.mark.parametrize(("code", "resolution", "place"), SIDES, ids=[code for code, _, _ in SIDES])
def test_a_side_that_disagrees_is_found(
    code: str, resolution: Resolution, place: tuple[str, str | None, int | None] | None
) -> None:
    """By its code, with the line to change; and on a path that holds it blocks nothing."""
    evidence = _evidence(resolution)
    finding = _found(evidence)[code]
    culprit = finding.culprit
    assert (None if culprit is None else (culprit.node, culprit.file, culprit.line)) == place
    assert judged(load_policy(None), NAME, conclude(evidence), evidence.rehearsal).verdict is not Verdict.BLOCK


def test_a_good_path_says_nothing() -> None:
    """What must stay silent: a hosts line that agrees with DNS, a name with one address, one nameserver."""
    assert _found(_evidence(_with(hosts=(_hosts(3, OWN),)))) == {}


@pytest.mark.parametrize(
    ("resolution", "code", "culprit"),
    [
        (
            _with(
                addresses=(),
                dns=(),
                error="nxdomain",
                order=("files",),
                switch=Origin(source="nsswitch", file="/n", line=7),
            ),
            "dns.nxdomain",
            Culprit(node="lxc103", file="/n", line=7),
        ),
        (
            _with(addresses=(), dns=(), error="no_nameserver", nameservers=()),
            "dns.resolv_conf_broken",
            Culprit(node="lxc103", file="/etc/resolv.conf"),
        ),
        (
            _with(addresses=(), dns=(_said(DNS, status="unreachable"), _said(SECOND, OWN)), error="timeout"),
            "dns.resolver_dead",
            Culprit(
                node="lxc103",
                file="/etc/resolv.conf",
                line=2,
                text=f"nameserver {DNS}",
                address=DNS,
                role="gateway",
            ),
        ),
        (
            _with(addresses=(), dns=(_said(DNS, status="timeout"),), error="timeout"),
            "dns.timeout",
            Culprit(node="lxc101", address=DNS, role="gateway"),
        ),
    ],
    ids=["switch", "empty", "past the right one", "silent"],
)
def test_no_address_is_blamed_on_what_keeps_it_away(resolution: Resolution, code: str, culprit: Culprit) -> None:
    """The line that leads past a nameserver which knows; where none does, the nameserver."""
    evidence = _evidence(resolution, RehearsalOutcome.FAILED)
    judgement = judged(load_policy(None), NAME, conclude(evidence), evidence.rehearsal)
    assert (judgement.findings[0].code, judgement.findings[0].culprit) == (code, culprit)


def test_libc_may_know_what_the_ca_does_not() -> None:
    """A source of nsswitch that Go has not got."""
    resolution = _with(addresses=(), dns=(_said(DNS, status="nxdomain"),), error="nxdomain")
    libc = LibcAnswer(NAME, (OWN,))
    assert "dns.nss_only" in _found(_evidence(resolution, RehearsalOutcome.FAILED, libc=libc))
    assert "dns.nss_only" not in _found(_evidence(libc=libc))


def test_this_nodes_own_hosts_line_is_a_warning() -> None:
    """For the identifier or for the CA's name; the CA's own view is what decides."""
    shadowed = Resolution(name="ca.lan.test", addresses=(_hosts(4, OTHER),), dns=(_said(DNS, "10.0.0.10"),))
    finding = _found(_evidence(here=NodeObservation(authority=shadowed)))["dns.hosts_shadow.client"]
    assert finding.culprit is not None
    assert (finding.culprit.node, finding.culprit.line) == (NODE, 4)
    own = msgspec.structs.replace(shadowed, addresses=(_hosts(4, "127.0.1.1"),))
    assert "dns.hosts_shadow.client" not in _found(_evidence(here=NodeObservation(authority=own)))


CONFIGURED = Provisioner(file="/etc/ca.json", lines={"provisioners": 11, "allow": 8, "names": 6})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exists": False}, "ca.provisioner_missing"),
        ({"challenges": ("dns-01",)}, "ca.challenge_not_offered"),
        ({"allowed": ("*.other.test",)}, "ca.policy_denies"),
        ({"denied": ("*.lan.test",)}, "ca.policy_denies"),
    ],
)
def test_what_the_ca_will_refuse_blocks_although_the_path_is_good(changes: dict[str, object], code: str) -> None:
    """Only what its process has read for certain."""
    ca = msgspec.structs.replace(CONFIGURED, **changes)
    evidence = _evidence(provisioner=ca)
    judgement = judged(load_policy(None), NAME, conclude(evidence), evidence.rehearsal)
    assert (judgement.verdict, judgement.findings[0].code) == (Verdict.BLOCK, code)
    assert judgement.findings[0].culprit is not None
    assert judgement.findings[0].culprit.file == "/etc/ca.json"
    assert _found(_evidence(provisioner=msgspec.structs.replace(ca, is_loaded=False))) == {}


@pytest.mark.parametrize("allowed", [("app.lan.test",), ("*.lan.test",), ("*.other.test", "*.lan.test")])
def test_a_policy_that_allows_the_name_says_nothing(allowed: tuple[str, ...]) -> None:
    """A name as it is, or one label in the place of the star."""
    assert _found(_evidence(provisioner=msgspec.structs.replace(CONFIGURED, allowed=allowed))) == {}


SNIPPET = Place(file="/etc/nginx/snippets/c.conf", line=5, text="proxy_pass https://127.0.0.1:5002;")


@pytest.mark.parametrize(
    ("look", "code"),
    [
        (WebServerObservation(server="nginx", action=ServerAction.ANSWERS, place=SNIPPET), "http01.not_found"),
        (
            WebServerObservation(server="nginx", action=ServerAction.SERVES, place=SNIPPET, target="/var/www"),
            "http01.webroot_mismatch",
        ),
        (
            WebServerObservation(
                server="nginx", action=ServerAction.PASSES, place=SNIPPET, target="https://127.0.0.1:5002"
            ),
            "http01.upstream_scheme",
        ),
        (
            WebServerObservation(
                server="traefik",
                causes=(Misconfiguration(code="http01.wrong_entrypoint", place=SNIPPET),),
            ),
            "http01.wrong_entrypoint",
        ),
    ],
)
def test_the_web_servers_line_leads(look: WebServerObservation, code: str) -> None:
    """Node, file, line and text of what has to be changed; nothing of it where the rehearsal passed."""
    responder = ResponderCheck(listen="127.0.0.1:5002", answered=True)
    evidence = _evidence(outcome=RehearsalOutcome.FAILED, gateways=(look,), responder=responder)
    first = judged(load_policy(None), NAME, conclude(evidence), evidence.rehearsal).findings[0]
    assert first.code == code
    assert first.culprit is not None
    assert (first.culprit.node, first.culprit.file, first.culprit.line) == (NODE, SNIPPET.file, 5)
    assert _found(_evidence(gateways=(look,), responder=responder)) == {}


def test_one_way_that_is_closed_is_said() -> None:
    """The node reaches the CA, the CA does not reach the node."""
    hop = Hop(url=f"http://{NAME}/", name=NAME, address=OWN, error="timeout")
    reached = (DirectoryCheck(url="https://ca/"),)
    failed = _evidence(outcome=RehearsalOutcome.FAILED, attempts=(Attempt(hops=(hop,)),), directory=reached)
    assert {"net.timeout", "net.asymmetric"} <= set(_found(failed))


def test_a_slow_token_is_a_warning() -> None:
    """It came, and the CA would have waited."""
    hop = Hop(url=f"http://{NAME}/", name=NAME, address=OWN, status=200, took_ms=12_000)
    assert set(_found(_evidence(attempts=(Attempt(hops=(hop,), matched=True),)))) == {"http01.slow"}
