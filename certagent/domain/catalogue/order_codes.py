"""The catalogue: orders, renewals without a challenge, and the verdict before them. Data only."""

from certagent.domain.catalogue.entry import Trait, entry
from certagent.domain.findings import Severity

FATAL, ERROR, WARN, INFO = Severity

_FIX_PATH = "Fix the challenge's path; the renewal then follows automatically."

ENTRIES = (
    entry(
        "acme.pending_with_error",
        ERROR,
        meaning="The CA could not fetch the challenge; the same order can be tried again.",
        cause="The path between the CA and the responder is broken.",
        action="See what was observed next to the CA.",
        traits=Trait.SEEN_BY_CA | Trait.HIDES_REASON,
        explanation="The CA could not validate {identifier}.",
    ),
    entry(
        "acme.mismatch_final",
        ERROR,
        meaning="The CA got an answer other than the token: the order has failed.",
        cause="Another machine, or a catch-all page, answers the challenge.",
        action="See what was observed next to the CA.",
        traits=Trait.SEEN_BY_CA,
    ),
    entry(
        "acme.reason_hidden",
        WARN,
        meaning="The CA gives no reason, and a check right after the order finds nothing wrong.",
        cause="The fault was already gone, or is where certagent does not check.",
        action="Read the CA's journal.",
        traits=Trait.SEEN_BY_CA,
        explanation="The CA gives no reason, and a rehearsal right after the order does not show one either"
        " ({outcomes}).",
        fix="Read the CA's journal at the time of the order; certagent tries again.",
        sample={"outcomes": ["passed"]},
    ),
    entry(
        "acme.rate_limited",
        ERROR,
        meaning="The CA limits the rate of orders.",
        cause="Too many orders in a short time.",
        action="Wait.",
    ),
    entry(
        "acme.server_internal",
        ERROR,
        meaning="The CA failed internally.",
        cause="Its database or its key is unavailable.",
        action="Check the CA's journal; the order is tried again.",
        traits=Trait.HIDES_REASON,
    ),
    entry(
        "acme.authorization_stuck",
        ERROR,
        meaning="The CA does not reach a decision.",
        cause="Its validation is overloaded.",
        action="Check the CA's journal; the order is tried again.",
        traits=Trait.HIDES_REASON,
    ),
    entry(
        "acme.order_expired",
        ERROR,
        meaning="The order ended without a reason.",
        cause="It was left pending for too long.",
        action="Nothing; a new order is placed.",
    ),
    entry(
        "acme.bad_csr",
        ERROR,
        meaning="The CA rejects the certificate request.",
        cause="It does not accept the names or the type of key.",
        action="Check the names and the type of key.",
    ),
    entry(
        "acme.failed",
        ERROR,
        meaning="The CA refused the order for another reason.",
        cause="See the CA's own words in the finding.",
        action="Read the CA's own words.",
    ),
    entry(
        "renewal.unchallenged",
        WARN,
        meaning="The certificate was renewed by mTLS, while the challenge's path is broken.",
        cause="The rehearsal fails, and the certificate was due.",
        action="Fix the path; the incident says where.",
        explanation="{certificate} was renewed by mTLS, without a challenge ({count} of {most} in a row), and is"
        " valid until"
        " {until}.[blocked? What blocks the challenge is still there:]",
    ),
    entry(
        "renewal.forbidden",
        ERROR,
        meaning="The CA does not renew without a challenge.",
        cause="The provisioner's claims have `disableRenewal` set.",
        action="Remove `disableRenewal` from ca.json, or fix the path.",
        variants={
            "renewal_refused": (
                "The CA does not renew {certificate} without a challenge: {said}.",
                "Remove \"disableRenewal\" from the provisioner's claims in the CA's ca.json, or fix the challenge's"
                " path.",
            )
        },
    ),
    entry(
        "renewal.expired",
        ERROR,
        meaning="The certificate has expired: too late to renew it without a challenge.",
        cause="The challenge's path stayed broken for too long.",
        action="Fix the path.",
        explanation="{certificate} expired at {until}: too late to renew it without a challenge.",
        fix=_FIX_PATH,
    ),
    entry(
        "renewal.limit_reached",
        ERROR,
        meaning="The certificate was renewed without a challenge as often in a row as the policy allows.",
        cause="The challenge's path stayed broken for too long.",
        action="Fix the path, or raise the limit.",
        explanation="{certificate} was renewed {count} times in a row without a challenge, as often as the policy"
        " allows, and"
        " expires at {until}.",
        fix="Fix the challenge's path, or raise renewal.unchallenged_in_a_row in the policy.",
    ),
    entry(
        "preflight.agreed",
        INFO,
        meaning="The CA did what the rehearsal predicted.",
        cause="The rehearsal works.",
        action="Nothing.",
        explanation="The rehearsal {predicted}, and the CA {fate}.",
        sample={"predicted": "passed", "fate": "issued"},
    ),
    entry(
        "preflight.disagreed",
        WARN,
        meaning="The CA did not do what the rehearsal predicted.",
        cause="The path changed in between, or the rehearsal missed something.",
        action="See the findings next to it.",
        explanation="The rehearsal {predicted}, but the CA {fate}.",
        sample={"predicted": "passed", "fate": "refused"},
    ),
)
