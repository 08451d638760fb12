"""No code without its proof: what shows it, what nearly does, what produces it for real, and its line in the docs."""

import ast
import re
from pathlib import Path

import pytest

from certagent.domain.catalogue.entries import CATALOGUE
from deploy.lab import faults
from tests.domain.diagnosis.test_every_code import ANSWERED, SEEN
from tests.e2e.test_dns01 import BROKEN

TREE = Path(__file__).parents[1]
CODE = re.compile(r'"((?:dns|ca|net|http01|alpn|dns01|acme|renewal|preflight)\.[a-z0-9_.]+)"')
GRADED = set(CATALOGUE)
OTHERS = ("deploy.", "cert.", "agent.", "channel.", "collector.", "fleet.", "source.", "traefik.", "config.")
"""Layers that have tests of their own: deploying and serving, lifetimes and agents."""

NOT_CONCLUDED = {
    "dns.hosts_overruled": "static: `certagent lint`",
    "dns.managed_file": "static: `certagent lint`",
    "dns.hosts_ignored": "static: `certagent lint`",
    "dns.resolv_conf_ignored": "static: `certagent lint`",
    "dns.resolv_conf_differs": "static: `certagent lint`",
    "dns.nsswitch_ignored": "static: `certagent lint`",
    "dns.nsswitch_no_dns": "static: `certagent lint`",
}
_REFUSED = ("tests/issuance/test_order.py", "test_a_refused_port_leaves_the_order_to_be_tried_again")
_HIDDEN = ("tests/agent/test_renewal.py", "test_a_refused_challenge_gets_the_reason_that_the_ca_hides")
_RENEWAL = "tests/agent/test_renewal.py"
IN_WORDS = {  # tests of their own beside the table of `test_every_code`
    "ca.not_step_ca": ("tests/agent/test_ca_health.py", "test_another_ca_is_said_once_and_is_no_trouble"),
    "ca.root_missing": (
        "tests/agent/test_pinned_roots.py",
        "test_a_root_that_the_ca_publishes_and_nobody_here_trusts_is_named_before_it_issues",
    ),
    "acme.pending_with_error": (
        "tests/issuance/test_order.py",
        "test_a_refused_port_leaves_the_order_to_be_tried_again",
    ),
    "acme.reason_hidden": (
        "tests/domain/diagnosis/test_every_code.py",
        "test_a_reason_that_nobody_sees_is_said_to_be_hidden",
    ),
    "acme.order_expired": ("tests/issuance/test_failures.py", "test_an_order_that_ends_without_a_reason"),
    "dns.local_answer": (
        "tests/domain/diagnosis/test_nameserver_files.py",
        "test_where_dns_leads_to_another_box_the_line_that_it_answers_from_is_to_blame",
    ),
    "dns.zone_gone": ("tests/domain/test_fleet.py", "test_a_zone_is_gone_when_its_names_are_and_not_when_one_is"),
    "dns01.hook_failed": (
        "tests/issuance/test_solvers.py",
        "test_a_program_that_fails_is_a_finding_without_its_output",
    ),
    "renewal.unchallenged": (_RENEWAL, "test_what_is_blocked_and_due_is_renewed_without_a_challenge"),
    "renewal.forbidden": (_RENEWAL, "test_a_ca_that_forbids_it_is_named"),
    "renewal.expired": (_RENEWAL, "test_what_has_expired_cannot_be_kept_alive"),
    "renewal.limit_reached": (_RENEWAL, "test_so_often_in_a_row_and_no_more"),
    "preflight.agreed": (
        "tests/domain/diagnosis/test_every_code.py",
        "test_an_orders_fate_is_held_against_the_verdict",
    ),
    "preflight.disagreed": (
        "tests/domain/diagnosis/test_every_code.py",
        "test_an_orders_fate_is_held_against_the_verdict",
    ),
}
_ALPN = ("tests/issuance/test_tls_alpn01.py", "test_the_rehearsal_says_what_the_ca_does")
_SEEN = "tests/e2e/test_findings_seen.py"
_KEPT = "tests/e2e/test_kept_alive.py"
_FAILURES = "tests/issuance/test_failures.py"
FOR_REAL = {  # where no fault of the lab shows it: the test that meets it on a real part
    "ca.not_step_ca": ("tests/issuance/test_directory.py", "test_another_ca_is_told_from_step_ca"),
    "ca.root_missing": ("tests/e2e/test_root_rotation.py", "test_the_fleet_goes_from_one_root_to_another"),
    "acme.mismatch_final": ("tests/issuance/test_order.py", "test_a_wrong_body_is_final"),
    "acme.pending_with_error": (
        "tests/issuance/test_order.py",
        "test_a_refused_port_leaves_the_order_to_be_tried_again",
    ),
    "acme.server_internal": (
        "tests/issuance/test_order.py",
        "test_a_ca_that_failed_before_issuing_is_asked_again_for_the_same_order",
    ),
    "acme.reason_hidden": _HIDDEN,
    "alpn.bad_extension": _ALPN,
    "alpn.san_mismatch": _ALPN,
    "alpn.wrong_certificate": _ALPN,
    "alpn.no_protocol": ("tests/issuance/test_tls_alpn01.py", "test_who_ends_the_handshake_is_named"),
    "alpn.unreachable": ("tests/issuance/test_tls_alpn01.py", "test_nobody_there_and_plain_http_there"),
    "alpn.responder_absent": ("tests/issuance/test_tls_alpn01.py", "test_a_port_that_is_taken_is_said_and_tried_again"),
    "ca.directory_missing": (_FAILURES, "test_what_is_wrong_with_the_ca_has_its_code"),
    "ca.leaf_expired": (_FAILURES, "test_what_is_wrong_with_the_ca_has_its_code"),
    "ca.unhealthy": (_FAILURES, "test_what_is_wrong_with_the_ca_has_its_code"),
    "ca.untrusted": (_FAILURES, "test_what_is_wrong_with_the_ca_has_its_code"),
    "ca.vantage_missing": (_SEEN, "test_without_anybody_beside_the_ca_preflight_is_blind"),
    "dns.aaaa_dead": (_SEEN, "test_an_aaaa_of_another_box_is_named"),
    "dns.aaaa_wrong_host": (_SEEN, "test_an_aaaa_of_another_box_is_named"),
    "dns.file_unreadable": (
        "tests/vantage/test_ca_process.py",
        "test_what_the_ca_s_user_may_not_read_is_absent_to_it",
    ),
    "dns.local_answer": (
        "tests/e2e/test_nameserver_files.py",
        "test_a_wrong_line_in_a_hostsdir_is_the_culprit",
    ),
    "dns.zone_gone": (_SEEN, "test_a_zone_that_is_gone_is_one_incident"),
    "dns.flapping": (_SEEN, "test_a_name_that_leads_here_and_there_is_flapping"),
    "dns.servfail": ("tests/system/test_dns.py", "test_a_nameservers_answer_becomes_a_finding"),
    "http01.flaky": (_SEEN, "test_a_path_that_comes_and_goes_is_flaky"),
    "http01.stale_connection": (
        "tests/e2e/test_campaign.py",
        "test_a_stale_connection_is_named_exactly_where_the_ca_uses_one",
    ),
    "ca.eab_required": ("tests/issuance/test_order_options.py", "test_an_account_that_has_to_be_bound_is_named"),
    "ca.lifetime_denied": (
        "tests/issuance/test_order_options.py",
        "test_a_lifetime_that_the_ca_does_not_allow_has_a_name",
    ),
    "dns01.hook_failed": ("tests/e2e/test_dns01.py", "test_a_program_that_fails_is_named"),
    **dict.fromkeys(BROKEN, ("tests/e2e/test_dns01.py", "test_what_is_wrong_with_the_record_has_its_code")),
    "renewal.unchallenged": (_KEPT, "test_what_is_due_is_kept_alive_while_the_incident_stays_open"),
    "renewal.limit_reached": (_KEPT, "test_what_is_due_is_kept_alive_while_the_incident_stays_open"),
    "renewal.forbidden": (_KEPT, "test_a_ca_that_forbids_it_is_named_and_the_certificate_stays"),
    "renewal.expired": ("tests/issuance/test_mtls.py", "test_an_expired_certificate_is_refused"),
    "preflight.agreed": ("tests/e2e/test_campaign.py", "test_the_verdict_before_the_order_is_the_cas_after_it"),
    "preflight.disagreed": (
        "tests/agent/test_renewal.py",
        "test_a_refused_challenge_gets_the_reason_that_the_ca_hides",
    ),
}
NOT_FOR_REAL = {
    "acme.authorization_stuck": "step-ca validates in the request itself and never leaves one undecided",
    "acme.bad_csr": "no request of ours is a bad one",
    "acme.failed": "whatever has no code of its own",
    "acme.order_expired": "orders of step-ca live for 24 hours",
    "acme.rate_limited": "step-ca has no rate limits",
    "alpn.port_not_443": "the lab's certificates are all of http-01",
    "ca.account_unknown": "an account that the CA forgot is made anew, so that the code is never reached",
    "dns.resolver_public": "nothing may leave the lab",
}
"""What is not met on a real part, and why. Short, and to become shorter."""

OURS = sorted(code for code in GRADED if not code.startswith(OTHERS) and code not in NOT_CONCLUDED)


def _in_source() -> set[str]:
    sources = (path.read_text(encoding="utf-8") for path in (TREE / "certagent").rglob("*.py"))
    return {code for source in sources for code in CODE.findall(source)} - {"acme.sh", "dns.nameservers"}


def _is_there(file: str, name: str) -> bool:
    tree = ast.parse((TREE / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(node, kinds) and node.name == name for node in tree.body)


def test_every_code_in_the_source_is_graded() -> None:
    """A code that the catalogue does not know would have no severity, no meaning and no sentences."""
    assert _in_source() <= GRADED


@pytest.mark.parametrize("code", OURS)
def test_a_code_is_shown_and_kept_apart_from_its_neighbour(code: str) -> None:
    """In the table of cases, or by a test that is named here and exists."""
    assert code in SEEN or code in ANSWERED or _is_there(*IN_WORDS[code])


@pytest.mark.parametrize("code", OURS)
def test_a_code_is_met_on_real_parts(code: str) -> None:
    """By a fault of the lab, or by a test that is named here and exists; or it is said why not."""
    by_fault = any(code in faults.load(name).expected for name in faults.names())
    by_test = code in FOR_REAL and _is_there(*FOR_REAL[code])
    assert by_fault or by_test or code in NOT_FOR_REAL
    assert not (by_fault or by_test) or code not in NOT_FOR_REAL, "it is met now: take it off the list"


def test_what_is_not_concluded_is_not_in_the_source() -> None:
    """Once it is, it needs its cases; what `certagent lint` says has tests of its own."""
    silent = {code for code, why in NOT_CONCLUDED.items() if not why.startswith("static")}
    assert not _in_source() & silent
