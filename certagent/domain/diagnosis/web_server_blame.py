"""Whether what a web server's configuration does explains what the CA saw: only then a line is blamed. Pure."""

from urllib.parse import urlsplit

from certagent.domain.observations import ServerAction, WebServerObservation
from certagent.domain.probe_errors import ProbeError
from certagent.domain.rehearsals import Hop

_EVERY_STATUS = range(100, 600)
_SUCCESS, _REDIRECTION = range(200, 300), range(300, 400)
_STATUSES: dict[ServerAction, tuple[int | range, ...]] = {
    ServerAction.PASSES: (_EVERY_STATUS,),  # whoever is behind it, or 502 for nobody
    ServerAction.REWRITES: (_EVERY_STATUS,),
    ServerAction.SERVES: (_SUCCESS, 403, 404),
    ServerAction.REDIRECTS: (_REDIRECTION,),
    ServerAction.DENIES: (401, 403),
}
_ERRORS: dict[ServerAction, tuple[str, ...]] = {
    ServerAction.CLOSES: (ProbeError.RESET, ProbeError.PROTOCOL),
    ServerAction.REFUSES: (ProbeError.REFUSED,),
}
_BY_TLS = range(400, 600)
"""What an https:// to the responder comes to, which speaks plain HTTP."""


def explains(observation: WebServerObservation, hop: Hop, responder: str | None) -> bool:
    """Whether `observation` can have answered as `hop` shows. `responder`: where certagent's own listens and answers;
    what passes on to it is not to blame. UNKNOWN explains nothing."""
    if hop.status is None:
        return hop.error in _ERRORS.get(observation.action, ())
    if hop.status == observation.status:
        return observation.action is not ServerAction.UNKNOWN
    if observation.action is ServerAction.ANSWERS:
        return observation.target in (None, str(hop.status))
    if observation.action is ServerAction.PASSES and leads_to(observation.target, responder):
        return urlsplit(observation.target or "").scheme == "https" and hop.status in _BY_TLS
    statuses = _STATUSES.get(observation.action, ())
    return any(hop.status in one if isinstance(one, range) else hop.status == one for one in statuses)


def leads_to(target: str | None, listen: str | None) -> bool:
    """Whether that URL leads to where `listen` ("host:port") is, by its port."""
    try:
        port = urlsplit(target or "").port
    except ValueError:
        return False
    return listen is not None and str(port) == listen.rpartition(":")[2]
