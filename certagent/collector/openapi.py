"""The API described as OpenAPI 3.1, from its route table and the types that it speaks."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from certagent import __version__
from certagent.collector.access import Listing, Route

_Schema = dict[str, Any]
_Schemas = Mapping[Any, _Schema]  # by type


class ProblemDocument(msgspec.Struct):
    """RFC 9457's document, as every error is one."""

    type: str
    title: str
    status: int
    detail: str


def describe_api(routes: Iterable[Route]) -> dict[str, Any]:
    """The OpenAPI document."""
    described = [route for route in routes if route.summary]
    types = list(dict.fromkeys([ProblemDocument, *(kind for route in described for kind in _types_of(route))]))
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    by_type = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in described:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "certagent collector", "version": __version__},
        "security": [{"token": []}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _types_of(route: Route) -> Iterator[Any]:
    answer = route.answer.item if isinstance(route.answer, Listing) else route.answer
    yield from (kind for kind in (route.body, answer) if kind is not None and not isinstance(kind, str))


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    success = "101" if route.answer is None else "200"
    problem = _described("A problem (RFC 9457)", "application/problem+json", schemas[ProblemDocument])
    operation: dict[str, Any] = {
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": {success: _success(route.answer, schemas), "default": problem},
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _content("application/json", schemas[route.body])}
    if route.roles is None:
        operation["security"] = []
    return operation


def _path_parameters(route: Route) -> Iterator[dict[str, Any]]:
    for part in route.path.split("/"):
        if part.startswith("{"):
            yield {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(route: Route) -> Iterator[dict[str, Any]]:
    for name, schema in route.query.items():
        yield {"name": name, "in": "query", "schema": schema}


def _success(answer: Any, schemas: _Schemas) -> dict[str, Any]:
    if answer is None:
        return {"description": "Done"}
    if isinstance(answer, str):
        return _described("Done", answer, {"type": "string"})
    schema = _page_of(schemas[answer.item]) if isinstance(answer, Listing) else schemas[answer]
    return _described("Done", "application/json", schema)


def _page_of(item: _Schema) -> _Schema:
    properties = {"items": {"type": "array", "items": item}, "next": {"type": ["string", "null"]}}
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _described(description: str, media_type: str, schema: _Schema) -> dict[str, Any]:
    return {"description": description, "content": _content(media_type, schema)}


def _content(media_type: str, schema: _Schema) -> dict[str, Any]:
    return {media_type: {"schema": schema}}
