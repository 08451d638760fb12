"""Traefik configurations by chance, of a seed: what people write, in every form that Traefik takes, and mistakes."""

import json
import random
from collections.abc import Mapping
from typing import Any

import yaml

HOSTS = ("app.lan.test", "wiki.lan.test", "deep.app.lan.test", "home.test")
BACKENDS = (5001, 5002, 5003)
ASKED = "/.well-known/acme-challenge/token"
_PATHS = ("/", "/.well-known/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/token", "/api", "/.well")
_NAMES = {"routers", "services", "middlewares", "entryPoints", "certificatesResolvers", "customRequestHeaders", "tls"}
_SENTINEL = {
    "routers": {"sentinel": {"entryPoints": ["other"], "rule": "Path(`/sentinel`)", "service": "noop@internal"}}
}
Table = dict[str, Any]


def make_configuration(seed: int) -> dict[str, str]:
    """Path -> content: `traefik.yml` or `traefik.toml`, and the files of its provider below `dynamic`. DYNAMIC stands
    for that folder."""
    chance = random.Random(seed)  # noqa: S311 - no secret, and the same again for the same seed
    style = chance.choice(("yml", "yml", "toml"))
    static = _static(chance)
    files = {f"traefik.{style}": _write(chance, static, style)}
    is_single = "filename" in static["providers"]["file"]
    parts = _dynamic(chance, is_single=is_single)
    for number, part in enumerate(parts):
        suffix = "yml" if is_single else chance.choice(("yml", "yaml", "YML", "toml"))
        folder = "" if is_single else chance.choice(("", "", "sub/", ".hidden/"))
        name = "single.yml" if is_single else f"{folder}{number}.{suffix}"
        files[f"dynamic/{name}"] = _write(chance, part, suffix.lower())
    return files


def _static(chance: random.Random) -> Table:
    web: Table = {"address": chance.choice((":80", "0.0.0.0:80", ":80/tcp", "[::]:80"))}
    http: Table = {}
    if chance.random() < 0.35:
        entry_point: Table = {"to": chance.choice(("websecure", ":443", ":8443", "other", "lost"))}
        entry_point |= _some(chance, scheme=("https", "http"), permanent=(True, False), priority=(1, 10, 60, 200_000))
        http["redirections"] = {"entryPoint": entry_point}
    if chance.random() < 0.12:
        http["middlewares"] = [chance.choice(("close@file", "strip@file", "auth", "lost@file", "toHttps@file"))]
    if chance.random() < 0.05:
        http["tls"] = {}
    if http:
        web["http"] = http
    web |= _some(chance, 0.1, asDefault=(True, False), allowACMEByPass=(True, False))
    points = {"web": web, "websecure": {"address": ":443"}, "other": {"address": ":8081"}}
    points["other"] |= _some(chance, 0.1, asDefault=(True,))
    file = {chance.choice(("directory", "directory", "directory", "filename")): "DYNAMIC"}
    if "filename" in file:
        file["filename"] = "DYNAMIC/single.yml"
    static: Table = {"entryPoints": points, "providers": {"file": file, "providersThrottleDuration": "10ms"}}
    static["api"] = {"insecure": True}
    if chance.random() < 0.15:
        acme = {"email": "a@b.test", "caServer": "https://127.0.0.1:9/", "storage": "acme.json"}
        acme["httpChallenge"] = {"entryPoint": chance.choice(("web", "web", "other"))}  # type: ignore[assignment]
        static["certificatesResolvers"] = {"own": {"acme": acme}}
    if chance.random() < 0.08:
        static["core"] = {"defaultRuleSyntax": chance.choice(("v2", "v3"))}
    return static


def _dynamic(chance: random.Random, *, is_single: bool) -> list[Table]:
    count = 1 if is_single else chance.randint(1, 3)
    parts = [_part(chance) for _ in range(count)]
    parts[0]["http"]["routers"] |= _SENTINEL["routers"]
    if chance.random() < 0.6:
        parts[-1]["http"]["routers"]["certagent-challenge"] = {
            "entryPoints": ["web"],
            "rule": "PathPrefix(`/.well-known/acme-challenge/`)",
            "priority": 100_000,
            "service": "certagent",
        }
        parts[-1]["http"].setdefault("services", {})["certagent"] = _servers(5001)
    if chance.random() < 0.05:
        broken: tuple[Table, ...] = (
            {"tls": {}},
            {"tcp": {"routers": {}}},
            {"http": {"services": {}}},
            {"udp": "hello"},
        )
        parts.append(chance.choice(broken)) if not is_single else parts[0].update(tls={})
    return parts


def _part(chance: random.Random) -> Table:
    names = chance.sample(("a", "b", "c", "d", "e", "f"), chance.randint(1, 4))
    routers: Table = {name: _router(chance) for name in names}
    if chance.random() < 0.15:
        routers["off"] = None
    http: Table = {"routers": routers, "services": _services(chance)}
    if chance.random() < 0.85:
        http["middlewares"] = _middlewares(chance)
    part: Table = {"http": http}
    if chance.random() < 0.04:
        router = {"rule": "HostSNI(`*`)", "entryPoints": [chance.choice(("web", "websecure"))], "service": "t"}
        router |= _some(chance, 0.3, tls=({}, False))
        servers = [{"address": "127.0.0.1:5003"}]
        part["tcp"] = {"routers": {"t": router}, "services": {"t": {"loadBalancer": {"servers": servers}}}}
    if chance.random() < 0.15:
        base = {"entryPoints": ["web"], "service": "s1"}
        part["x-base"] = base
        for router in list(routers.values())[:2]:
            if router is not None:
                router["<<"] = base
    return part


def _router(chance: random.Random) -> Table:
    router: Table = {"rule": _rule(chance, 2)}
    router["service"] = chance.choice(("s1", "s1", "s2", "s3", "s3@file", "both", "empty", "lost", "noop@internal"))
    router |= _some(
        chance,
        entryPoints=(["web"], ["web"], ["web", "websecure"], ["websecure"], ["lost"], ["web", "lost"], "web,other"),
        priority=(0, *(chance.randint(-50, 2000) for _ in range(6)), 150_000, 2**63 - 100),
    )
    router |= _some(chance, 0.15, tls=({}, {}, None, False, {"options": "default"}))
    router |= _some(chance, 0.1, ruleSyntax=("v2", "v3"))
    if chance.random() < 0.45:
        some = (
            "close",
            "strip",
            "add",
            "auth",
            "toHttps",
            "toHttp",
            "regex",
            "replace",
            "many",
            "allow",
            "deny",
            "lost",
        )
        router["middlewares"] = chance.sample(some, chance.randint(1, 2))
    return router


def _rule(chance: random.Random, depth: int) -> str:
    kind = chance.random()
    if depth and kind < 0.25:
        inner = f" {chance.choice(('&&', '||'))} ".join(_rule(chance, depth - 1) for _ in range(chance.randint(2, 3)))
        return chance.choice((inner, f"({inner})", f"!({inner})"))
    if depth and kind < 0.35:
        return f"!{_rule(chance, 0)}"
    name, path = chance.choice((*HOSTS, "*.lan.test", "APP.lan.test", "other.test")), chance.choice(_PATHS)
    rules = (
        *([f"Host(`{name}`)"] * 4),
        *([f"PathPrefix(`{path}`)"] * 3),
        f"Path(`{path}`)",
        f'Host("{name}")',
        f"host( `{name}` )",
        "HostRegexp(`^[a-z]+\\.lan\\.test$`)",
        "HostRegexp(`.+`)",
        "PathRegexp(`^/\\.well-known/.*n$`)",
        "Method(`GET`)",
        "Method(`POST`)",
        *(["ClientIP(`127.0.0.1`)"] if chance.random() < 0.3 else []),
        "Header(`X-None`, `a`)",
        f"Host(`{name}`, `home.test`)",
        "HostRegexp(`{sub:[a-z]+}.lan.test`)",
        "HostRegexp(`(?=a)`)",
        "PathPrefix(`/.well-known/{rest:.+}`)",
        "Nonsense(`a`)",
        "Host('a.test')",
    )
    return chance.choice(rules)


def _servers(*ports: int) -> Table:
    return {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{port}"} for port in ports]}}


def _services(chance: random.Random) -> Table:
    services: Table = {"s1": _servers(5001), "s2": _servers(5002), "s3": _servers(5003)}
    services["s3"]["loadBalancer"] |= _some(chance, 0.3, passHostHeader=(True, False))
    if chance.random() < 0.5:
        services["s1"]["loadBalancer"]["healthCheck"] = {"path": "/", "interval": "30s"}
    services["empty"] = {"loadBalancer": {"passHostHeader": True}}
    names = [{"name": chance.choice(("s1", "s2"))} for _ in range(chance.randint(1, 2))]
    services["both"] = chance.choice(
        (
            {"weighted": {"services": names}},
            {"mirroring": {"service": "s2", "mirrors": [{"name": "s1", "percent": 10}]}},
            {"failover": {"service": "s1", "fallback": "s2"}},
            {"weighted": {"services": [{"name": "lost"}]}},
        )
    )
    return services


def _middlewares(chance: random.Random) -> Table:
    scheme: Table = {"scheme": "https"}
    return {
        "close": {"headers": {"customResponseHeaders": {"Connection": "close"}}},
        "strip": {"stripPrefix": {"prefixes": [chance.choice(("/.well-known", "/api", "/"))]}},
        "add": {"addPrefix": {"prefix": "/x"}},
        "auth": {"basicAuth": {"users": ["a:$apr1$H6uskkkW$IgXLP6ewTrSuBkTrqE8wj/"]}},
        "toHttps": {"redirectScheme": scheme | _some(chance, port=("443", "8443"), permanent=(True,))},
        "toHttp": {"redirectScheme": {"scheme": "http"}},
        "regex": {
            "redirectRegex": chance.choice(
                (
                    {"regex": "^http://(.*)", "replacement": "https://${1}"},
                    {"regex": "^http://www[.](.*)", "replacement": "https://${1}"},
                )
            )
        },
        "replace": chance.choice(
            (
                {"replacePath": {"path": "/foo"}},
                {"replacePathRegex": {"regex": "^/[.]well-known/(.*)", "replacement": "/$1"}},
                {"stripPrefixRegex": {"regex": ["/[a-z]+"]}},
                {"headers": {"customRequestHeaders": {"Host": "changed.test"}}},
                {"compress": {}},
            )
        ),
        "allow": {"ipAllowList": {"sourceRange": ["0.0.0.0/0"]}},
        "deny": {"ipAllowList": {"sourceRange": ["192.0.2.0/24"]}},
        "many": {"chain": {"middlewares": [chance.choice(("close", "strip", "toHttps", "lost2")), "close"]}},
    }


def _some(chance: random.Random, likely: float = 0.5, **choices: tuple[Any, ...]) -> Table:
    return {name: chance.choice(values) for name, values in choices.items() if chance.random() < likely}


def _write(chance: random.Random, table: Table, style: str) -> str:
    spell = chance.choice((str, str, str.lower, str.upper))
    spelled = _spell(table, spell, is_named=False, made={})
    if style == "toml":
        return "\n".join(_toml(_merged(spelled), ()))
    return yaml.safe_dump(spelled, sort_keys=False, default_flow_style=chance.choice((None, False))).replace(
        "'<<'", "<<"
    )


def _spell(value: Any, spell: Any, *, is_named: bool, made: dict[int, Any]) -> Any:
    """Keys in another case, but for names. What is one object stays one: an anchor and its aliases."""
    if isinstance(value, list):
        return [_spell(item, spell, is_named=False, made=made) for item in value]
    if not isinstance(value, Mapping):
        return value
    if id(value) not in made:
        made[id(value)] = {
            key if is_named or key in ("<<", "x-base") else spell(key): _spell(
                child, spell, is_named=not is_named and key in _NAMES and isinstance(child, dict), made=made
            )
            for key, child in value.items()
        }
    return made[id(value)]


def _merged(value: Any) -> Any:
    """Without merge keys, which TOML does not have."""
    if isinstance(value, list):
        return [_merged(item) for item in value]
    if not isinstance(value, dict):
        return value
    base = _merged(value["<<"]) if "<<" in value else {}
    own = {key: _merged(child) for key, child in value.items() if key not in ("<<", "x-base") and child is not None}
    kept = {key.lower() for key in own}
    return {key: child for key, child in base.items() if key.lower() not in kept} | own


def _toml(table: Table, path: tuple[str, ...]) -> list[str]:
    scalars = [f"{key} = {_value(value)}" for key, value in table.items() if not isinstance(value, dict) or not value]
    lines = ([f"[{'.'.join(path)}]"] if path and (scalars or not table) else []) + scalars
    for key, value in table.items():
        if isinstance(value, dict) and value:
            lines += _toml(value, (*path, key))
    return lines


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(child)}" for key, child in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)
