"""One renewal: what is ordered, what is withheld, what is finished after a kill. The state folder is a real one."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certagent.agent.deployment import DeploymentService
from certagent.agent.orders import OrderPlacer
from certagent.agent.renewal import RenewalRunner
from certagent.agent.schedule import Need
from certagent.config import CertificateSection, ListenerSolver
from certagent.deployers.pair_inspection import find_pair_faults
from certagent.domain.chains import Roots
from certagent.domain.deployments import Deployment, DeploymentOutcome, Fault, Generation
from certagent.domain.findings import Culprit, TargetState, Vantage, Verdict
from certagent.domain.orders import Failed, Issued, OrderOutcome, PendingOrder, Problem, Resource
from certagent.domain.policy import Judgement
from certagent.domain.rehearsals import Connection, Provisioner, Rehearsal, RehearsalOutcome
from certagent.domain.reports import Outcome, Trigger
from certagent.reporting import Spool
from certagent.state import CertificateFolder, RunRecord
from tests.agent.context import POLICY, make_context
from tests.certificates import Authority, Pair
from tests.evidence import make_finding, make_rehearsal
from tests.fakes.clock import FakeClock
from tests.fakes.preflight import FakePreflight

NAME = "traefik.internal"
CERTIFICATE = CertificateSection(
    name="traefik", identifiers=(NAME,), solver=ListenerSolver(listen="127.0.0.1:5002"), deploy=()
)


class _Ca(OrderPlacer):
    """Counts orders, and answers each with a new certificate, with that of the order under way, or with `failure`."""

    def __init__(self, clock: FakeClock) -> None:
        self.orders = 0
        self.mtls_renewals = 0
        self.failure: Failed | None = None
        self.refusal: Failed | None = None
        self.issued: Issued | None = None
        self.pairs: list[Pair] = []
        self.authority = Authority()
        self._clock = clock

    async def place(self, certificate: CertificateSection, folder: CertificateFolder) -> OrderOutcome:
        if folder.pending_order() is not None and self.issued is not None:
            return self.issued
        self.orders += 1
        if self.failure is not None:
            return self.failure
        self.issued = self._issue(certificate)
        return self.issued

    async def renew_by_mtls(self, certificate: CertificateSection, current: Generation) -> OrderOutcome:
        self.mtls_renewals += 1
        return self.refusal or self._issue(certificate)

    def _issue(self, certificate: CertificateSection) -> Issued:
        usual = self.authority.issue(*certificate.identifiers, not_before=self._clock.now())
        pair = self.pairs.pop(0) if self.pairs else usual
        return Issued(order_url="https://ca/order/1", key_pem=pair.key_pem, chain_pem=pair.chain_pem, took=timedelta())


class _Service(DeploymentService):
    """Takes what is deployed, or fails."""

    def __init__(self) -> None:
        self.deployed: list[int] = []
        self.fails = False
        self.roots: Roots = ()
        self.clock = FakeClock()

    @contextmanager
    def expect_reload(self, certificate: CertificateSection) -> Iterator[None]:
        yield

    async def find_pair_faults(self, certificate: CertificateSection, generation: Generation) -> list[Fault]:
        return find_pair_faults(generation, certificate.identifiers, self.clock.now(), self.roots)

    async def deploy(self, certificate: CertificateSection, generation: Generation) -> list[Deployment]:
        self.deployed.append(generation.number)
        return [
            Deployment(
                target="service",
                kind="command",
                generation=generation.number,
                fingerprint=generation.facts.fingerprint,
                outcome=DeploymentOutcome.ROLLED_BACK if self.fails else DeploymentOutcome.PROVEN,
                steps=(),
                faults=(Fault(code="deploy.rolled_back"),) if self.fails else (),
            )
        ]


class _House:
    """A renewal, and what is around it."""

    def __init__(self, root: Path) -> None:
        self.clock = FakeClock()
        self.ca = _Ca(self.clock)
        self.service = _Service()
        self.service.roots = (self.ca.authority.root,)
        self.service.clock = self.clock
        self.preflight = FakePreflight(_judgement(Verdict.BLOCK, _rehearsal(self.clock, RehearsalOutcome.FAILED)))
        self.spool = Spool(root / "spool")
        context = make_context(root / "state", CERTIFICATE, clock=self.clock, spool=self.spool)
        self.state = context.state
        self.renewal = RenewalRunner(context, self.ca, self.service, self.preflight)

    async def renew(
        self, verdict: Verdict = Verdict.PROCEED, trigger: Trigger = Trigger.TIMER, *, need: Need = Need.NONE
    ) -> str:
        outcome = RehearsalOutcome.FAILED if verdict is Verdict.BLOCK else RehearsalOutcome.PASSED
        judgement = _judgement(verdict, _rehearsal(self.clock, outcome))
        return (await self.renewal.run(CERTIFICATE, [judgement], trigger, need=need)).outcome

    def reported(self) -> list[tuple[Outcome, list[str]]]:
        return [
            (report.outcome, [finding.code for finding in report.findings]) for report in self.spool.next_batch(100)
        ]


@pytest.fixture
def house(tmp_path: Path) -> _House:
    """A node that has nothing yet."""
    return _House(tmp_path)


def _rehearsal(clock: FakeClock, outcome: RehearsalOutcome, **more: object) -> Rehearsal:
    seen = make_rehearsal(None, identifier=NAME, outcome=outcome, at=clock.now(), owners={})
    return msgspec.structs.replace(seen, **more)


def _judgement(verdict: Verdict, rehearsal: Rehearsal, *codes: str) -> Judgement:
    findings = tuple(make_finding(code, code, vantage=Vantage.CLIENT, reporter="lxc102") for code in codes)
    return Judgement(identifier=NAME, verdict=verdict, rehearsal=rehearsal, findings=findings)


async def test_it_orders_deploys_proves_and_reports(house: _House) -> None:
    """One run, one report; the verdict agreed with the CA."""
    assert await house.renew() == Outcome.DONE
    assert (house.ca.orders, house.service.deployed) == (1, [1])
    assert house.reported() == [(Outcome.DONE, ["preflight.agreed"])]
    folder = house.state.certificate("traefik")
    assert folder.run() is None
    proven = folder.proven()
    assert proven is not None
    assert proven.number == 1


async def test_an_order_whose_pair_is_there_already_is_no_renewal(house: _House) -> None:
    """Killed between the two, the order is still there: it is forgotten, and a new one placed."""
    await house.renew()
    issued = house.ca.issued
    assert issued is not None
    order = PendingOrder(
        url=issued.order_url,
        directory="https://ca/directory",
        identifiers=(NAME,),
        key_type="ecdsa-p256",
        key_pem=issued.key_pem.decode(),
        placed_at=house.clock.now(),
    )
    folder = house.state.certificate("traefik")
    folder.save_order(order)
    assert await house.renew() == Outcome.DONE
    assert (house.ca.orders, house.service.deployed, folder.pending_order()) == (2, [1, 2], None)


async def test_a_block_withholds_the_order(house: _House) -> None:
    """Nothing reaches the CA, nothing changes on disk."""
    assert await house.renew(Verdict.BLOCK) == Outcome.BLOCKED
    assert (house.ca.orders, house.service.deployed) == (0, [])
    assert house.reported() == [(Outcome.BLOCKED, [])]


async def test_one_probing_order_per_interval_measures_the_verdict(house: _House) -> None:
    """And says that the verdict was wrong, when it was."""
    await house.renew(Verdict.BLOCK)
    house.clock.move(POLICY.renewal.probe_every)
    assert await house.renew(Verdict.BLOCK) == Outcome.FOUND
    assert house.ca.orders == 1
    assert house.reported()[-1][1] == ["preflight.disagreed"]
    house.clock.move(timedelta(hours=1))
    assert await house.renew(Verdict.BLOCK) == Outcome.BLOCKED


async def test_a_person_asking_is_no_probe_but_expiry_is(house: _House) -> None:
    """A request is told the truth; near expiry an order is placed all the same."""
    house.clock.move(timedelta(days=1))
    assert await house.renew(Verdict.BLOCK, Trigger.REQUEST) == Outcome.BLOCKED
    assert await house.renew(Verdict.BLOCK, need=Need.URGENT) == Outcome.FOUND


async def test_what_is_blocked_and_due_is_renewed_without_a_challenge(house: _House) -> None:
    """Deployed and proven like any other; it says so, with the culprit, and no more loudly than a warning."""
    await house.renew()
    assert await house.renew(Verdict.BLOCK, need=Need.DUE) == Outcome.KEPT
    assert (house.ca.orders, house.ca.mtls_renewals, house.service.deployed) == (1, 1, [1, 2])
    assert house.reported()[-1] == (Outcome.KEPT, ["renewal.unchallenged"])
    proven = house.state.certificate("traefik").proven()
    assert proven is not None
    assert proven.number == 2


async def test_what_is_blocked_and_not_due_stays_as_it_is(house: _House) -> None:
    """A person's `--force` is no reason to go around the challenge."""
    await house.renew()
    assert await house.renew(Verdict.BLOCK, Trigger.REQUEST) == Outcome.BLOCKED
    assert house.ca.mtls_renewals == 0


async def test_the_cas_wish_to_be_left_alone_is_handed_on(house: _House) -> None:
    """503 with Retry-After: an hour, not five seconds."""
    problem = Problem(detail="busy", status=503)
    house.ca.failure = Failed(code="acme.server_internal", problems=(problem,), retry_after=timedelta(hours=1))
    judgement = _judgement(Verdict.PROCEED, _rehearsal(house.clock, RehearsalOutcome.PASSED))
    renewed = await house.renewal.run(CERTIFICATE, [judgement], Trigger.TIMER, need=Need.DUE)
    assert renewed.retry_at == house.clock.now() + timedelta(hours=1)


async def test_so_often_in_a_row_and_no_more(house: _House) -> None:
    """Counted on disk; a challenge that is passed begins anew."""
    await house.renew()
    most = POLICY.renewal.unchallenged_in_a_row
    for _ in range(most):
        assert await house.renew(Verdict.BLOCK, Trigger.REQUEST, need=Need.DUE) == Outcome.KEPT
    assert await house.renew(Verdict.BLOCK, Trigger.REQUEST, need=Need.DUE) == Outcome.BLOCKED
    assert house.ca.mtls_renewals == most
    assert house.reported()[-1] == (Outcome.BLOCKED, ["renewal.limit_reached"])
    await house.renew()
    assert await house.renew(Verdict.BLOCK, Trigger.REQUEST, need=Need.DUE) == Outcome.KEPT


async def test_what_has_expired_cannot_be_kept_alive(house: _House) -> None:
    """The CA would refuse the handshake; the reason is said instead."""
    await house.renew()
    house.clock.move(timedelta(days=2))
    assert await house.renew(Verdict.BLOCK, Trigger.REQUEST, need=Need.DUE) == Outcome.BLOCKED
    assert house.reported()[-1] == (Outcome.BLOCKED, ["renewal.expired"])
    assert house.ca.mtls_renewals == 0


async def test_a_ca_that_forbids_it_is_named(house: _House) -> None:
    """And the certificate stays as it is."""
    await house.renew()
    house.ca.refusal = Failed(code="renewal.forbidden", problems=(Problem(detail="HTTP 401", status=401),))
    assert await house.renew(Verdict.BLOCK, need=Need.DUE) == Outcome.BLOCKED
    assert house.reported()[-1] == (Outcome.BLOCKED, ["renewal.forbidden"])
    assert house.state.certificate("traefik").unchallenged() is None


async def test_without_a_ca_or_a_target_nothing_is_asked(house: _House) -> None:
    """Who cannot be reached cannot renew, either."""
    await house.renew()
    judgement = _judgement(Verdict.BLOCK, _rehearsal(house.clock, RehearsalOutcome.PASSED), "ca.unreachable")
    renewed = await house.renewal.run(CERTIFICATE, [judgement], Trigger.TIMER, need=Need.URGENT)
    assert (renewed.outcome, house.ca.mtls_renewals) == (Outcome.BLOCKED, 0)


async def test_other_names_than_wanted_are_not_kept_alive(house: _House) -> None:
    """The configuration asks for another name: the CA would only renew the old ones."""
    await house.renew()
    wanted = msgspec.structs.replace(CERTIFICATE, identifiers=(NAME, "other.internal"))
    judgement = _judgement(Verdict.BLOCK, _rehearsal(house.clock, RehearsalOutcome.FAILED))
    renewed = await house.renewal.run(wanted, [judgement], Trigger.TIMER, need=Need.DUE)
    assert (renewed.outcome, house.ca.mtls_renewals) == (Outcome.BLOCKED, 0)


async def test_an_order_that_fails_close_to_the_end_leaves_the_certificate_alive(house: _House) -> None:
    """Preflight saw nothing, the CA refused: with time left it is tried again, without it is kept."""
    await house.renew()
    problem = Problem(detail="could not connect", resource=Resource.CHALLENGE)
    house.ca.failure = Failed(code="acme.pending_with_error", problems=(problem,), can_retry=True)
    assert await house.renew(need=Need.DUE) == Outcome.FAILED
    assert await house.renew(need=Need.URGENT) == Outcome.KEPT
    assert house.reported()[-1][1][0] == "acme.pending_with_error"


async def test_own_inability_is_never_probed(house: _House) -> None:
    """Without a CA that can be trusted there is nobody to ask."""
    judgement = _judgement(Verdict.BLOCK, _rehearsal(house.clock, RehearsalOutcome.PASSED), "ca.untrusted")
    renewed = await house.renewal.run(CERTIFICATE, [judgement], Trigger.TIMER, need=Need.URGENT)
    assert (renewed.outcome, house.ca.orders) == (Outcome.BLOCKED, 0)


async def test_a_refused_challenge_gets_the_reason_that_the_ca_hides(house: _House) -> None:
    """The look from beside the CA is part of the finding; the verdict was wrong, and it says so."""
    problem = Problem(detail="could not connect", resource=Resource.CHALLENGE)
    house.ca.failure = Failed(code="acme.pending_with_error", problems=(problem,), can_retry=True)
    assert await house.renew() == Outcome.FAILED
    assert house.reported() == [
        (Outcome.FAILED, ["acme.pending_with_error", "acme.reason_hidden", "preflight.disagreed"])
    ]


async def test_a_failed_deployment_is_retried_without_a_new_order(house: _House) -> None:
    """What was issued lies there; only the deployment is repeated."""
    house.service.fails = True
    assert await house.renew() == Outcome.FAILED
    house.service.fails = False
    assert await house.renew(Verdict.BLOCK) == Outcome.DONE
    assert (house.ca.orders, house.service.deployed) == (1, [1, 1])


async def test_a_failed_deployment_says_which_certificate_where_and_when_it_is_tried_again(house: _House) -> None:
    """And until when the one from before is good, which nobody has looked at."""
    await house.renew()
    (before,) = [facts for facts in [house.state.certificate("traefik").facts()] if facts is not None]
    house.service.fails, pause = True, timedelta(seconds=20)
    renewed = await house.renewal.run(CERTIFICATE, [], Trigger.REQUEST, need=Need.NONE, retry_after=pause)
    (failed,) = [finding for finding in renewed.findings if finding.code == "deploy.rolled_back"]
    assert failed.identifier == NAME
    assert failed.target == TargetState(
        certificate="traefik",
        name="service",
        served_until=before.ends_at,
        retry_at=house.clock.now() + pause,
    )


def _of_another_key(house: _House) -> Pair:
    pair, other = (house.ca.authority.issue(NAME, not_before=house.clock.now()) for _ in range(2))
    return msgspec.structs.replace(pair, key_pem=other.key_pem)


def _without_a_key(house: _House) -> Pair:
    return msgspec.structs.replace(_of_another_key(house), key_pem=b"nonsense")


def _of_another_root(house: _House) -> Pair:
    return Authority("Other").issue(NAME, not_before=house.clock.now())


def _with_another_s_chain(house: _House) -> Pair:
    pair, other = house.ca.authority.issue(NAME, not_before=house.clock.now()), Authority("Other").issue(NAME)
    leaf = pair.certificate.public_bytes(Encoding.PEM)
    return msgspec.structs.replace(pair, chain_pem=leaf + other.certificate.public_bytes(Encoding.PEM))


def _with_nonsense_behind(house: _House) -> Pair:
    pair = house.ca.authority.issue(NAME, not_before=house.clock.now())
    broken = b"-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n"
    return msgspec.structs.replace(pair, chain_pem=pair.certificate.public_bytes(Encoding.PEM) + broken)


@pytest.mark.parametrize(
    ("spoil", "code", "variant"),
    [
        (_of_another_key, "deploy.pair_mismatch", ""),
        (_without_a_key, "deploy.pair_mismatch", "no_key"),
        (_of_another_root, "deploy.chain_incomplete", "no_root"),
        (_with_another_s_chain, "deploy.chain_incomplete", "wrong_issuer"),
        (_with_nonsense_behind, "deploy.chain_incomplete", "no_certificate"),
    ],
)
async def test_a_pair_that_is_not_good_is_ordered_anew_when_asked(
    house: _House, spoil: Callable[[_House], Pair], code: str, variant: str
) -> None:
    """What no deployment makes good: by the timer it is tried again, without a new order for hours; a person who has
    done what the fix says gets a new one at once."""
    pair = spoil(house)
    generation = house.state.certificate("traefik").add_generation(pair.key_pem, pair.chain_pem)
    faults = await house.service.find_pair_faults(CERTIFICATE, generation)
    assert (code, variant) in [(fault.code, fault.variant) for fault in faults]
    house.service.fails = True
    assert (await house.renew(), house.ca.orders) == (Outcome.FAILED, 0)
    house.service.fails = False
    assert (await house.renew(trigger=Trigger.REQUEST), house.ca.orders) == (Outcome.DONE, 1)
    assert house.service.deployed == [1, 2]


async def test_a_pair_that_is_not_good_does_not_wait_for_its_end(house: _House) -> None:
    """Nobody asks: one new order per probing interval, which the next good pair ends."""
    pair = _of_another_root(house)
    house.state.certificate("traefik").add_generation(pair.key_pem, pair.chain_pem)
    house.service.fails = True
    await house.renew()
    house.clock.move(POLICY.renewal.probe_every)
    house.service.fails = False
    assert (await house.renew(), house.ca.orders) == (Outcome.DONE, 1)


async def test_a_certificate_without_a_wanted_name_is_ordered_anew(house: _House) -> None:
    """`deploy.san_missing`: once the CA issues for it, the next one is for it, too."""
    pair = house.ca.authority.issue("other.internal", not_before=house.clock.now())
    generation = house.state.certificate("traefik").add_generation(pair.key_pem, pair.chain_pem)
    assert [fault.code for fault in await house.service.find_pair_faults(CERTIFICATE, generation)] == [
        "deploy.san_missing"
    ]
    assert (await house.renew(), house.ca.orders) == (Outcome.DONE, 1)


async def test_what_is_not_as_wanted_does_not_stand(house: _House) -> None:
    """Revoked, or without a name that the configuration wants by now: it is due, and not kept alive."""
    await house.renew()
    folder = house.state.certificate("traefik")
    current = house.renewal.current_generation(CERTIFICATE)
    assert current is not None
    wanted = msgspec.structs.replace(CERTIFICATE, identifiers=(NAME, "new.internal"))
    assert house.renewal.current_generation(wanted) is None
    folder.note_revoked(current)
    assert house.renewal.current_generation(CERTIFICATE) is None
    assert await house.renew(Verdict.BLOCK, need=Need.DUE) == Outcome.BLOCKED
    assert house.ca.mtls_renewals == 0
    await house.renew()
    assert house.renewal.current_generation(CERTIFICATE) is not None


def _short(house: _House) -> Authority:
    """An intermediate with half an hour left."""
    return house.ca.authority.intermediate("Short", timedelta(minutes=30), house.clock.now())


async def test_a_chain_that_ends_first_is_told_when_it_arrives(house: _House) -> None:
    """At the CA's file, where the agent beside the CA names it; the certificate is good until then."""
    house.ca.pairs = [_short(house).issue(NAME, not_before=house.clock.now())]
    seen = _rehearsal(
        house.clock,
        RehearsalOutcome.PASSED,
        node="lxc103",
        provisioner=Provisioner(file="/ca.json", chain_file="/ca/intermediate.crt"),
    )
    judgement = _judgement(Verdict.PROCEED, seen)
    renewed = await house.renewal.run(CERTIFICATE, [judgement], Trigger.TIMER, need=Need.NONE)
    assert renewed.outcome == Outcome.FOUND
    (finding,) = [one for one in renewed.findings if one.code == "cert.chain_ends_first"]
    assert finding.culprit == Culprit(node="lxc103", file="/ca/intermediate.crt", role="authority")
    assert "cert.renewal_impossible" not in [one.code for one in renewed.findings]
    facts = house.renewal.facts("traefik")
    assert facts is not None
    assert facts.due_at(0.5) == house.clock.now() + timedelta(minutes=15)
    house.clock.move(timedelta(minutes=20))
    await house.renew()
    assert [code for code in house.reported()[-1][1] if code.startswith("cert.")] == []


async def test_what_only_its_chain_makes_due_is_told_apart(house: _House) -> None:
    """A second one of the same chain was tried; a leaf that is due itself needs a new one anyway."""
    assert house.renewal.short_chained(CERTIFICATE) is None
    short = _short(house)
    house.ca.pairs = [short.issue(NAME, not_before=house.clock.now()) for _ in range(2)]
    await house.renew()
    facts = house.renewal.short_chained(CERTIFICATE)
    assert facts is not None
    assert not house.renewal.brought_the_same_chain(CERTIFICATE, facts)
    await house.renew()
    facts = house.renewal.short_chained(CERTIFICATE)
    assert facts is not None
    assert house.renewal.brought_the_same_chain(CERTIFICATE, facts)
    house.clock.move(timedelta(hours=7))
    assert not house.renewal.brought_the_same_chain(CERTIFICATE, facts)
    house.clock.move(timedelta(hours=10))
    assert house.renewal.short_chained(CERTIFICATE) is None


async def test_what_waits_to_be_deployed_is_due_although_the_old_one_is_good(house: _House) -> None:
    """A forced renewal whose deployment failed is retried by itself, without a new order."""
    await house.renew()
    house.service.fails = True
    assert await house.renew() == Outcome.FAILED
    assert house.renewal.current_generation(CERTIFICATE) is None
    house.service.fails = False
    assert await house.renew() == Outcome.DONE
    standing = house.renewal.current_generation(CERTIFICATE)
    assert standing is not None
    assert (standing.number, house.ca.orders) == (2, 2)


async def test_a_complaint_is_taken_back_when_nothing_is_wanted_any_more(house: _House) -> None:
    """A forced renewal was blocked; the certificate is good and not due: its scope is clear again."""
    await house.renew()
    house.renewal.clear_failure(CERTIFICATE, Trigger.TIMER)
    assert len(house.reported()) == 1
    assert await house.renew(Verdict.BLOCK, Trigger.REQUEST) == Outcome.BLOCKED
    house.renewal.clear_failure(CERTIFICATE, Trigger.TIMER)
    assert house.reported()[-1] == (Outcome.DONE, [])
    assert house.spool.next_batch(100)[-1].scopes == ("certificate:traefik",)
    last = house.state.certificate("traefik").last()
    assert last is not None
    assert last.outcome == Outcome.DONE  # which is what status says, too
    said = len(house.reported())
    house.renewal.clear_failure(CERTIFICATE, Trigger.START)
    assert len(house.reported()) == said


async def test_a_run_that_could_not_write_its_end_is_over_when_it_can(
    house: _House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was reported as done, and then as a state that is full: nothing is left of that, nor for the next start."""
    folder = house.state.certificate("traefik")

    def full(path: Path, _: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(CertificateFolder, "end_run", full)
        with pytest.raises(OSError, match="No space left"):
            await house.renew()
    assert house.renewal.current_generation(CERTIFICATE) is not None
    said = len(house.reported())
    with monkeypatch.context() as patch:
        patch.setattr("certagent.state.write_file", full)
        assert not house.renewal.clear_failure(CERTIFICATE, Trigger.TIMER)
    assert len(house.reported()) == said
    assert house.renewal.clear_failure(CERTIFICATE, Trigger.TIMER)
    assert house.reported()[said:] == [(Outcome.DONE, [])]
    assert house.spool.next_batch(100)[-1].scopes == ("certificate:traefik",)
    assert folder.run() is None
    await house.renewal.finish_interrupted(CERTIFICATE)
    assert house.renewal.clear_failure(CERTIFICATE, Trigger.TIMER)
    assert len(house.reported()) == said + 1


async def test_a_killed_run_is_reported_under_its_id_and_finished(house: _House) -> None:
    """The journal of the killed run is on disk, and its generation too."""
    pair = Authority().issue(NAME, not_before=house.clock.now())
    folder = house.state.certificate("traefik")
    generation = folder.add_generation(pair.key_pem, pair.chain_pem)
    folder.save_run(
        RunRecord(
            id="killed",
            certificate="traefik",
            trigger=Trigger.TIMER,
            step="deploy",
            started_at=house.clock.now(),
            generation=generation.number,
        )
    )
    await house.renewal.finish_interrupted(CERTIFICATE)
    reports = house.spool.next_batch(10)
    assert [(one.id == "killed", one.outcome) for one in reports] == [
        (True, Outcome.INTERRUPTED),
        (False, Outcome.DONE),
    ]
    assert (house.ca.orders, house.service.deployed) == (0, [1])
    assert folder.run() is None


async def test_a_start_with_nothing_to_finish_does_nothing(house: _House) -> None:
    """No reload without a reason."""
    await house.renew()
    house.service.deployed.clear()
    await house.renewal.finish_interrupted(CERTIFICATE)
    assert house.service.deployed == []


async def test_it_waits_until_the_ca_has_forgotten(house: _House) -> None:
    """A hosts file is cached, a connection kept: the order waits for both, and rehearses again."""
    settles_at = house.clock.now() + timedelta(seconds=4)
    stale = _rehearsal(house.clock, RehearsalOutcome.PASSED, stale=(Connection(address="10.0.0.153", port=80),))
    house.preflight.results = [stale, _rehearsal(house.clock, RehearsalOutcome.PASSED)]
    judgement = _judgement(Verdict.PROCEED, _rehearsal(house.clock, RehearsalOutcome.PASSED, settles_at=settles_at))
    renewed = await house.renewal.run(CERTIFICATE, [judgement], Trigger.TIMER, need=Need.DUE)
    assert renewed.outcome == Outcome.DONE
    assert house.clock.slept == [4.0, 2.0]


async def test_the_wait_is_bounded(house: _House) -> None:
    """A connection that never closes does not hold a renewal for ever."""
    stale = _rehearsal(house.clock, RehearsalOutcome.PASSED, stale=(Connection(address="10.0.0.153", port=80),))
    house.preflight.results = [stale]
    judgement = _judgement(Verdict.WARN, stale)
    await house.renewal.run(CERTIFICATE, [judgement], Trigger.TIMER, need=Need.DUE)
    assert sum(house.clock.slept) <= POLICY.renewal.settle_longest.total_seconds() + 2
    assert house.ca.orders == 1
