"""Errors as documents (RFC 9457). Every error that leaves the collector is one of these."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from certagent.collector.store import StoreFailed

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpProblem(Exception):
    """What the caller did wrong, or what the collector cannot do now. `extra` are members of the document's own."""

    def __init__(self, status: int, title: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any):
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}
        self.document = {"type": "about:blank", "title": title, "status": status, "detail": detail, **extra}

    def response(self) -> web.Response:
        """The problem as it is sent."""
        return web.Response(
            status=self.status,
            body=msgspec.json.encode(self.document),
            content_type="application/problem+json",
            headers=self.headers,
        )


def say_less(record: logging.LogRecord) -> bool:
    """A filter for the server's log: who sends no HTTP, or goes in the middle of it, gets one line; and no part of what
    was sent, for it may hold a token."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError | ConnectionError):
        why = "not HTTP" if isinstance(error, HttpProcessingError) else "the caller is gone"
        record.msg, record.exc_info, record.levelno, record.levelname = f"{record.msg}: {why}", None, 20, "INFO"
    return True


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every refusal into its document; aiohttp's own, too."""
    try:
        return await handler(request)
    except HttpProblem as problem:
        return problem.response()
    except StoreFailed as error:
        log.error("%s %s: %s", request.method, request.path, error)
        retry = {"Retry-After": "5"}
        return HttpProblem(503, "Service Unavailable", "the store cannot do its work now", headers=retry).response()
    except web.HTTPException as error:
        if error.status < 400:
            raise
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return HttpProblem(error.status, error.reason, error.text or error.reason, headers=allowed).response()
    except web.RequestPayloadError as error:
        return HttpProblem(400, "Bad Request", f"the body cannot be read: {error}").response()
    except (ConnectionError, TimeoutError):
        raise  # nobody is there to be told
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return HttpProblem(500, "Internal Server Error", "the collector failed; its log says how").response()
