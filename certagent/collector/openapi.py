"""The API described as OpenAPI 3.1, from the types that it speaks."""

from typing import Any

import msgspec

from certagent import __version__
from certagent.collector.store import Acceptance, Transition
from certagent.collector.views import AgentView, CertificateView, EvidenceView
from certagent.domain.incidents import Incident, IncidentState
from certagent.domain.path_trace import Path
from certagent.domain.rehearsals import Rehearsal, RehearsalRequest
from certagent.domain.reports import Report
from certagent.domain.survival import Survival

_TYPES = (
    *(Acceptance, AgentView, CertificateView, EvidenceView, Incident, Path, Rehearsal, RehearsalRequest, Report),
    *(Survival, Transition),
)
_TEXT, _EVENTS = "text/plain", "text/event-stream"
_STATES = {"type": "array", "items": {"enum": [str(state) for state in IncidentState]}}
_PAGING = {"cursor": {"type": "string"}, "limit": {"type": "integer", "minimum": 1, "maximum": 1_000}}
_OPEN = frozenset({"/healthz", "/readyz"})

# method, path, summary, query parameters, body, answer: a type, `+` for a list of it by pages, or a media type
_OPERATIONS: tuple[tuple[str, str, str, dict[str, Any], str | None, str | None], ...] = (
    ("post", "/v1/reports", "Hand in the agent's own reports", {}, "Report[]", "Acceptance"),
    ("get", "/v1/reports", "Reports, the latest first", _PAGING | {"agent": {"type": "string"}}, None, "Report+"),
    ("get", "/v1/agents", "Agents by name", _PAGING, None, "AgentView+"),
    ("get", "/v1/certificates", "Certificates by node and name", _PAGING, None, "CertificateView+"),
    ("get", "/v1/incidents", "Incidents, the latest first", _PAGING | {"state": _STATES}, None, "Incident+"),
    ("get", "/v1/incidents/{id}", "One incident, its history and evidence", {}, None, "IncidentDetail"),
    ("post", "/v1/incidents/{id}/ack", "Acknowledge an open incident", {}, None, "Incident"),
    ("get", "/v1/paths/{identifier}", "Intended and actual path of an identifier", {}, None, "Path"),
    ("get", "/v1/survival", "When certificates die if none can be renewed", {}, None, "Survival"),
    (
        "post",
        "/v1/rehearsals",
        "Have the CA's side fetch a token",
        {"timeout": {"type": "number", "minimum": 0}},
        "RehearsalRequest",
        "Rehearsal",
    ),
    ("get", "/v1/channel", "The agent's channel (WebSocket)", {}, None, None),
    ("get", "/v1/events", "Server-sent events: incident, agent, certificate", {}, None, _EVENTS),
    ("get", "/metrics", "For Prometheus", {}, None, _TEXT),
    ("get", "/healthz", "Answers if it lives", {}, None, _TEXT),
    ("get", "/readyz", "Answers if it serves", {}, None, _TEXT),
    ("get", "/openapi.json", "This document", {}, None, "Document"),
)


def describe_api() -> dict[str, Any]:
    """The OpenAPI document."""
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    schemas |= _made_up()
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


def _made_up() -> dict[str, Any]:
    """What has no type of its own."""
    text, whole = {"type": "string"}, {"type": "integer"}
    problem = {"type": text, "title": text, "status": whole, "detail": text}
    more = {"transitions": _schema("Transition[]"), "findings": _schema("EvidenceView[]")}
    detail = {"type": "object", "properties": more, "required": sorted(more)}
    return {
        "Problem": {"type": "object", "properties": problem, "required": sorted(problem)},
        "IncidentDetail": {"allOf": [_schema("Incident"), detail]},
        "Document": {"type": "object"},
    }


def _operation(path: str, summary: str, query: dict[str, Any], body: str | None, answer: str | None) -> dict[str, Any]:
    in_path = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in in_path]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()]
    success: dict[str, Any] = {"description": "Done"}
    if answer is not None:
        is_media = "/" in answer
        content = {answer: {"schema": {"type": "string"}}} if is_media else {"application/json": _with_schema(answer)}
        success["content"] = content
    problem = {
        "description": "A problem (RFC 9457)",
        "content": {"application/problem+json": _with_schema("Problem")},
    }
    operation: dict[str, Any] = {
        "summary": summary,
        "parameters": parameters,
        "responses": {"101" if answer is None else "200": success, "default": problem},
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": _with_schema(body)}}
    if path in _OPEN:
        operation["security"] = []
    return operation


def _with_schema(name: str) -> dict[str, Any]:
    return {"schema": _schema(name)}


def _schema(name: str) -> dict[str, Any]:
    if name.endswith("[]"):
        return {"type": "array", "items": _schema(name[:-2])}
    if name.endswith("+"):
        items = {"type": "array", "items": _schema(name[:-1])}
        properties = {"items": items, "next": {"type": ["string", "null"]}}
        return {"type": "object", "properties": properties, "required": sorted(properties)}
    return {"$ref": f"#/components/schemas/{name}"}
