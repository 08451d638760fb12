"""How an order fails, as a value: the finding, the CA's own words, and whether the next attempt resumes the order.
Pure."""

from collections.abc import Sequence

from certagent.domain.orders import Authorization, Failed, Order, Problem, Resource, Status, code_of


def failed_by(order: Order, bad: Sequence[Authorization], kind: str) -> Failed:
    """Return the failure of an order whose authorizations failed; it can be retried only if every one of them is
    still pending."""
    problems = tuple(authorization.problem(kind) or _stuck(authorization) for authorization in bad)
    is_pending = [authorization.state(kind) is Status.PENDING for authorization in bad]
    final = [problem for pending, problem in zip(is_pending, problems, strict=True) if not pending]
    if final:
        return Failed(code=code_of(final[0]), problems=problems, order_url=order.url)
    has_error = any(authorization.problem(kind) is not None for authorization in bad)
    code = "acme.pending_with_error" if has_error else "acme.authorization_stuck"
    return Failed(code=code, problems=problems, order_url=order.url, can_retry=True)


def _stuck(authorization: Authorization) -> Problem:
    return Problem(
        detail=f"the authorization is {authorization.status}, and no challenge gives a reason",
        identifier=authorization.identifier,
        resource=Resource.AUTHORIZATION,
    )


def not_offered(order: Order, authorization: Authorization, kind: str) -> Failed:
    """Return the failure of an order for whose identifier the CA does not offer this challenge."""
    offered = ", ".join(challenge.type for challenge in authorization.challenges) or "nothing"
    problem = Problem(
        detail=f"the CA does not offer {kind} but {offered}",
        identifier=authorization.identifier,
        resource=Resource.AUTHORIZATION,
    )
    return Failed(code="ca.challenge_not_offered", problems=(problem,), order_url=order.url)


def no_certificate(order: Order, why: ValueError) -> Failed:
    """Return the failure of an order for which the CA returned something other than a certificate, and would again."""
    problem = Problem(detail=f"it did not return a valid certificate: {why}", resource=Resource.CERTIFICATE)
    return Failed(code="acme.failed", problems=(problem,), order_url=order.url)


def lost(order: Order) -> Failed:
    """Return the failure of an order that ended without a certificate."""
    problem = order.error or Problem(detail=f"the order is {order.status}, and the CA gives no reason")
    code = code_of(problem) if order.error else "acme.order_expired"
    return Failed(code=code, problems=(problem.about(Resource.ORDER),), order_url=order.url)
