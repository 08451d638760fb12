"""The API described as OpenAPI 3.1, from the types that it speaks."""

from typing import Any

import msgspec

from certagent import __version__
from certagent.collector.views import AgentView, CertificateView, EvidenceView
from certagent.domain.incidents import Incident
from certagent.domain.paths import Path
from certagent.domain.rehearsals import Rehearsal, RehearsalRequest
from certagent.domain.reports import Report
from certagent.domain.survival import Survival

_TYPES = (AgentView, CertificateView, EvidenceView, Incident, Path, Rehearsal, RehearsalRequest, Report, Survival)
_PAGING = (("cursor", "string"), ("limit", "integer"))

# method, path, summary, query parameters, body, answer
_OPERATIONS: tuple[tuple[str, str, str, tuple[tuple[str, str], ...], str | None, str | None], ...] = (
    ("post", "/v1/reports", "Hand in the agent's own reports", (), "Report[]", "Counts"),
    ("get", "/v1/reports", "Reports, the latest first", (*_PAGING, ("agent", "string")), None, "Report+"),
    ("get", "/v1/agents", "Agents by name", _PAGING, None, "AgentView+"),
    ("get", "/v1/certificates", "Certificates by node and name", _PAGING, None, "CertificateView+"),
    ("get", "/v1/incidents", "Incidents, the latest first", (*_PAGING, ("state", "string")), None, "Incident+"),
    ("get", "/v1/incidents/{id}", "One incident, its history and evidence", (), None, "Incident"),
    ("post", "/v1/incidents/{id}/ack", "Acknowledge an open incident", (), None, "Incident"),
    ("get", "/v1/paths/{identifier}", "Intended and actual path of an identifier", (), None, "Path"),
    ("get", "/v1/survival", "When certificates die if none can be renewed", (), None, "Survival"),
    (
        "post",
        "/v1/rehearsals",
        "Have the CA's side fetch a token",
        (("timeout", "number"),),
        "RehearsalRequest",
        "Rehearsal",
    ),
    ("get", "/v1/channel", "The agent's channel (WebSocket)", (), None, None),
    ("get", "/v1/events", "Server-sent events: incident, agent, certificate", (), None, None),
    ("get", "/metrics", "For Prometheus", (), None, None),
    ("get", "/healthz", "Answers if it lives", (), None, None),
    ("get", "/readyz", "Answers if it serves", (), None, None),
)


def describe_api() -> dict[str, Any]:
    """The OpenAPI document."""
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    schemas["Problem"] = _object({"type": "string", "title": "string", "status": "integer", "detail": "string"})
    schemas["Counts"] = _object({"accepted": "integer", "duplicates": "integer"})
    paths: dict[str, dict[str, Any]] = {}
    for method, path, summary, query, body, answer in _OPERATIONS:
        paths.setdefault(path, {})[method] = _operation(path, summary, query, body, answer)
    return {
        "openapi": "3.1.0",
        "info": {"title": "certagent collector", "version": __version__},
        "security": [{"token": []}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(
    path: str, summary: str, query: tuple[tuple[str, str], ...], body: str | None, answer: str | None
) -> dict[str, Any]:
    in_path = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in in_path]
    parameters += [{"name": name, "in": "query", "schema": {"type": kind}} for name, kind in query]
    success: dict[str, Any] = {"description": "Done"}
    if answer is not None:
        success["content"] = {"application/json": {"schema": _schema(answer)}}
    operation: dict[str, Any] = {
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": success,
            "default": {
                "description": "A problem (RFC 9457)",
                "content": {"application/problem+json": {"schema": _schema("Problem")}},
            },
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _schema(body)}}}
    return operation


def _schema(name: str) -> dict[str, Any]:
    if name.endswith("[]"):
        return {"type": "array", "items": _schema(name[:-2])}
    if name.endswith("+"):
        items = {"type": "array", "items": _schema(name[:-1])}
        return {"type": "object", "properties": {"items": items, "next": {"type": ["string", "null"]}}}
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: dict[str, str]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": kind} for name, kind in properties.items()}}
