"""dns-01: what each trouble is concluded to be, whom it blames, and what must stay silent."""

import msgspec
import pytest

from certagent.domain.diagnosis.evidence import ResponderCheck
from certagent.domain.dns01_record import Publication, TxtAnswer, TxtLookup, record_name, text_of
from certagent.domain.findings import Culprit, Finding, Severity, Verdict
from certagent.domain.policy import Judgement
from certagent.domain.rehearsals import AddressOwner, RehearsalOutcome
from tests.evidence import bare_evidence, judge, make_rehearsal

NAME = "app.dyn.internal.thinkheads.ai"
RECORD = "_acme-challenge.app.dyn.internal.thinkheads.ai."
ZONE = "dyn.internal.thinkheads.ai."
PRIMARY, SECONDARY, RESOLVER = "10.0.0.50", "10.0.0.51", "10.0.0.153"
OWNERS = {
    PRIMARY: AddressOwner(node="client"),
    RESOLVER: AddressOwner(node="lxc101", role="gateway"),
}
FOUND = TxtAnswer(nameserver=RESOLVER, name=RECORD, status="ok", records=1, matched=True)
NONE = TxtAnswer(nameserver=RESOLVER, name=RECORD, status="nxdomain", zone=ZONE, serial=7, negative_for=42)
HAS_IT = TxtAnswer(nameserver=PRIMARY, name=RECORD, status="ok", records=1, matched=True, is_own=True)
PUBLISHED = Publication(
    server=PRIMARY,
    name=RECORD,
    zone=ZONE,
    key_name="certagent",
    key_file="/etc/certagent/tsig",
    serial=9,
    servers=(HAS_IT,),
)


def _judge(publication: Publication, answer: TxtAnswer | None = FOUND, error: str | None = None) -> Judgement:
    check = ResponderCheck(
        listen=f"{PRIMARY}:53",
        answered=publication.trouble is None,
        challenge="dns-01",
        publication=publication,
        withheld="" if publication.trouble is None else "the record could not be written to the zone",
    )
    txt = TxtLookup(name=RECORD, answers=(answer,) if answer else (), error=error or _error(answer))
    outcome = RehearsalOutcome.PASSED if txt.matched else RehearsalOutcome.FAILED
    is_written = publication.trouble is None
    rehearsal = make_rehearsal(
        None,
        identifier=NAME,
        challenge="dns-01",
        outcome=outcome if is_written else RehearsalOutcome.UNAVAILABLE,
        txt=txt,
        owners=OWNERS,
    )
    return judge(bare_evidence(rehearsal, addresses=(), responder=check))


def _error(answer: TxtAnswer | None) -> str | None:
    if answer is None or answer.records:
        return None
    return "nodata" if answer.status == "ok" else answer.status


def _only(judgement: Judgement) -> Finding:
    [finding] = judgement.findings
    assert judgement.verdict is Verdict.BLOCK
    assert finding.severity is Severity.FATAL
    assert finding.fix
    return finding


def _changed(answer: TxtAnswer, **changes: object) -> TxtAnswer:
    return msgspec.structs.replace(answer, **changes)


def test_a_record_that_the_ca_finds_says_nothing() -> None:
    """Written, everywhere, found."""
    judgement = _judge(PUBLISHED)
    assert (judgement.verdict, judgement.findings) == (Verdict.PROCEED, ())


KEY_FILE = Culprit(node="lxc102", file="/etc/certagent/tsig", text="certagent")
SERVER = Culprit(node="client", address=PRIMARY)
STATE = Culprit(node="lxc102")


@pytest.mark.parametrize(
    ("trouble", "rcode", "code", "said", "culprit"),
    [
        ("unreachable", None, "dns01.server_unreachable", "nothing answers at 10.0.0.50 (client)", SERVER),
        ("zone_not_found", "NOTAUTH", "dns01.zone_not_found", "10.0.0.50 (client) has no zone for it", SERVER),
        ("wrong_zone", None, "dns01.wrong_zone", "in the zone dyn.internal.thinkheads.ai, not in internal", SERVER),
        ("refused", "REFUSED", "dns01.update_refused", "refuses the update (REFUSED)", SERVER),
        ("tsig", "BADKEY", "dns01.tsig", "certagent (BADKEY): it has no key of that name", KEY_FILE),
        ("tsig", "BADSIG", "dns01.tsig", "(BADSIG): its secret for that key differs", KEY_FILE),
        ("tsig", "BADTIME", "dns01.tsig", "(BADTIME): its clock and this node's differ too much", SERVER),
        ("journal", None, "deploy.unwritable", "could not save a note to remove it later", STATE),
    ],
)
def test_what_cannot_be_written_blocks_by_itself(
    trouble: str, rcode: str | None, code: str, said: str, culprit: Culprit
) -> None:
    """It is the acting node's own inability: one finding, and nobody is said to be missing beside the CA."""
    wanted = "internal." if trouble == "wrong_zone" else None
    finding = _only(
        _judge(msgspec.structs.replace(PUBLISHED, trouble=trouble, rcode=rcode, detail="said", wanted_zone=wanted))
    )
    assert finding.code == code
    assert said in finding.explanation
    assert finding.culprit == culprit


def test_a_server_that_lags_is_named_and_blocks_only_with_the_rehearsal() -> None:
    """The CA's nameserver may well ask the other one: then it is a warning."""
    lagging = TxtAnswer(nameserver=SECONDARY, name=RECORD, status="nxdomain", is_own=True)
    publication = msgspec.structs.replace(PUBLISHED, servers=(HAS_IT, lagging))
    judgement = _judge(publication)
    assert judgement.verdict is Verdict.WARN
    failed = _judge(publication, NONE)
    assert failed.verdict is Verdict.BLOCK
    for finding in (judgement.findings[0], failed.findings[0]):
        assert finding.code == "dns01.not_on_all_servers"
        assert finding.culprit == Culprit(address=SECONDARY)
        assert "10.0.0.50 (client) accepted the record" in finding.explanation
        assert "10.0.0.51, which the zone names as its server, says that the name does not exist" in finding.explanation


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (NONE, "dns01.negative_cached", "has cached that the record does not exist, for another 42 s"),
        (_changed(NONE, status="ok"), "dns01.negative_cached", "for another 42 s"),
        (_changed(NONE, serial=2**32 - 1), "dns01.negative_cached", "for another 42 s"),
        (_changed(NONE, serial=9), "dns01.authority_cannot_see", "says that the name does not exist"),
        (_changed(NONE, serial=10), "dns01.authority_cannot_see", "says that the name does not exist"),
        (_changed(NONE, is_own=True), "dns01.authority_cannot_see", "from its own data, without asking"),
        (_changed(NONE, zone=None, serial=None), "dns01.authority_cannot_see", "says that the name does not exist"),
        (_changed(NONE, zone="internal.thinkheads.ai."), "dns01.wrong_zone", "from the zone internal.thinkheads.ai"),
        (_changed(NONE, zone=None, status="servfail"), "dns01.authority_cannot_see", "fails (SERVFAIL)"),
        (
            _changed(FOUND, matched=False, records=2, ttl=30),
            "dns01.authority_cannot_see",
            "has 2 other records there and may keep them for 30 s",
        ),
    ],
)
def test_what_the_cas_nameserver_says_instead(answer: TxtAnswer, code: str, said: str) -> None:
    """One finding, which names the nameserver; a cached no is told by the older serial of its SOA."""
    finding = _only(_judge(PUBLISHED, answer))
    assert finding.code == code
    assert said in finding.explanation
    assert "10.0.0.153 (lxc101, gateway), which it asks" in finding.explanation
    assert finding.culprit == Culprit(node="lxc101", address=RESOLVER, role="gateway")
    if code == "dns01.negative_cached":
        assert finding.detail["seconds_left"] == 42


def test_a_ca_without_a_nameserver_is_its_own_resolv_conf() -> None:
    """Nobody was asked."""
    finding = _only(_judge(PUBLISHED, None, "no_nameserver"))
    assert finding.code == "dns01.authority_cannot_see"
    assert finding.culprit == Culprit(node="lxc103", file="/etc/resolv.conf", role="authority")


def test_leftovers_are_told_and_hurt_nobody() -> None:
    """Its own are gone, others' are others'."""
    judgement = _judge(msgspec.structs.replace(PUBLISHED, removed=2, strangers=1))
    [finding] = judgement.findings
    assert (finding.code, finding.severity, judgement.verdict) == ("dns01.leftover", Severity.INFO, Verdict.PROCEED)
    assert "left 2, now removed; 1 do not belong to this agent" in finding.explanation


def test_the_record_of_a_wildcard_is_below_its_base() -> None:
    """RFC 8555 section 8.4, and the text of its example's form."""
    assert record_name("*.example.org") == record_name("example.org") == "_acme-challenge.example.org"
    assert text_of(bytes(32)) == "A" * 43
