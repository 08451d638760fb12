"""What nginx's and Traefik's files name and nobody defines: small files, real parsers, the line."""

from pathlib import Path

import pytest

from certagent.domain.observations import ServerAction
from certagent.vantage.foreign_files import Reading
from certagent.vantage.static_observation import find_dangling
from certagent.vantage.web_server_config import WebServerConfigs

STATIC = """entryPoints:
  web:
    address: ':80'
certificatesResolvers:
  lan: {{acme: {{}}}}
providers:
  file:
    directory: {folder}
"""
HEALTHY = """http:
  routers:
    a:
      entryPoints: [web]
      rule: "PathPrefix(`/`)"
      middlewares: [m, auth@docker]
      service: s
      tls:
        certResolver: lan
    b:
      rule: "Host(`b`)"
      service: noop@internal
  middlewares:
    m:
      redirectScheme: {scheme: https}
  services:
    s:
      loadBalancer:
        servers:
          - url: "http://127.0.0.1:1"
"""


def _traefik(tmp_path: Path, dynamic: str, text: str = STATIC) -> list[tuple[int | None, str]]:
    """(line, what is missing) for that dynamic file."""
    (tmp_path / "dynamic").mkdir(exist_ok=True)
    (tmp_path / "dynamic" / "a.yml").write_text(dynamic)
    static = tmp_path / "traefik.yml"
    static.write_text(text.format(folder=tmp_path / "dynamic"))
    return [
        (one.place.line, f"{one.facts['part']} {one.facts['name']!r}")
        for one in find_dangling(tmp_path / "nginx.conf", (static,)).value
    ]


def test_nothing_dangles_in_a_good_configuration(tmp_path: Path) -> None:
    """Other providers' names cannot be judged, and are not."""
    assert _traefik(tmp_path, HEALTHY) == []


@pytest.mark.parametrize(
    ("word", "instead", "line", "kind"),
    [
        ("[web]", "[wbe]", 4, "entry point 'wbe'"),
        ("[m, auth@docker]", "[n]", 6, "middleware 'n'"),
        ("service: s", "service: t", 7, "service 't'"),
        ("certResolver: lan", "certResolver: wan", 9, "certResolver 'wan'"),
    ],
)
def test_a_routers_parts_are_looked_for(tmp_path: Path, word: str, instead: str, line: int, kind: str) -> None:
    """Each with the line that names it."""
    assert _traefik(tmp_path, HEALTHY.replace(word, instead)) == [(line, kind)]


DEFINED = {
    "entry point": (STATIC.replace("  web:\n", "  web: {{address: ':81'}}\n  wbe:\n"), HEALTHY),
    "middleware": (STATIC, HEALTHY.replace("    m:\n", "    m: {addPrefix: {prefix: /a}}\n    n:\n")),
    "service": (
        STATIC,
        HEALTHY.replace("    s:\n", "    t: {loadBalancer: {servers: [{url: h}]}}\n    s:\n"),
    ),
    "certResolver": (STATIC.replace("  lan:", "  wan: {{acme: {{}}}}\n  lan:"), HEALTHY),
}
"""The static and the dynamic file in which what is missing is defined as well."""


@pytest.mark.parametrize("is_defined", [True, False], ids=["defined", "removed"])
@pytest.mark.parametrize(
    ("part", "word", "instead"),
    [
        ("entry point", "[web]", "[wbe]"),
        ("middleware", "[m, auth@docker]", "[n]"),
        ("service", "service: s", "service: t"),
        ("certResolver", "certResolver: lan", "certResolver: wan"),
    ],
)
def test_a_router_is_right_once_it_is_as_the_fix_says(
    tmp_path: Path, part: str, word: str, instead: str, is_defined: bool
) -> None:
    """`Define it, or remove it from FILE, line N`: done, each alone, and nothing dangles."""
    ((line, _),) = _traefik(tmp_path, HEALTHY.replace(word, instead))
    static, good = DEFINED[part] if is_defined else (STATIC, HEALTHY)
    broken = good.replace(word, instead)
    lines = broken.splitlines(keepends=True)
    fixed = broken if is_defined else "".join([*lines[: (line or 0) - 1], *lines[line or 0 :]])
    assert fixed != HEALTHY
    assert _traefik(tmp_path, fixed, static) == []


def test_what_only_traefik_sees_is_not_judged(tmp_path: Path) -> None:
    """A template, or a file in TOML, may define anything."""
    assert _traefik(tmp_path, HEALTHY.replace("service: s", "service: t") + "# {{ range }}\n") == []
    (tmp_path / "dynamic" / "b.toml").write_text("[http]\n")
    assert _traefik(tmp_path, HEALTHY.replace("service: s", "service: t")) == []


def test_files_that_nginx_names_and_nobody_has(tmp_path: Path) -> None:
    """An include, a certificate, a link in a folder that is included whole; variables are not looked at."""
    nginx, folder = _dangling_nginx(tmp_path), tmp_path / "conf.d"
    found = {
        (one.place.file, one.place.line, one.variant, one.facts["target"]) for one in find_dangling(nginx, ()).value
    }
    assert found == {
        (str(nginx), 4, "include", f"{tmp_path}/missing.conf"),
        (str(nginx), 8, "file", f"{tmp_path}/gone.key"),
        (str(folder / "gone.conf"), None, "link", f"{folder}/gone.conf"),
    }


def _dangling_nginx(tmp_path: Path) -> Path:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "gone.conf").symlink_to(tmp_path / "nowhere")
    (tmp_path / "here.crt").write_text("")
    nginx = tmp_path / "nginx.conf"
    nginx.write_text(
        "events {}\nhttp {\ninclude none/*.conf;\ninclude missing.conf;\ninclude conf.d/*.conf;\n"
        "server {\nssl_certificate here.crt;\nssl_certificate_key gone.key;\nssl_certificate $name.crt;\n}\n}\n"
    )
    return nginx


@pytest.mark.parametrize("is_defined", [True, False], ids=["defined", "removed"])
@pytest.mark.parametrize("variant", ["include", "file", "link"])
def test_what_nginx_names_is_there_once_it_is_as_the_fix_says(tmp_path: Path, variant: str, is_defined: bool) -> None:
    """`Define it, or remove it from FILE[, line N]`: done for one of three, and the other two are left."""
    nginx = _dangling_nginx(tmp_path)
    (cause,) = (one for one in find_dangling(nginx, ()).value if one.variant == variant)
    spot = Path(cause.place.file)
    if is_defined:
        spot.resolve().write_text("") if cause.place.line is None else Path(str(cause.facts["target"])).write_text("")
    elif cause.place.line is None:
        spot.unlink()
    else:
        lines = spot.read_text().splitlines(keepends=True)
        spot.write_text("".join([*lines[: cause.place.line - 1], *lines[cause.place.line :]]))
    left = [one.variant for one in find_dangling(nginx, ()).value]
    assert sorted([*left, variant]) == ["file", "include", "link"]


def test_a_node_without_web_servers_has_nothing(tmp_path: Path) -> None:
    """Neither file is there."""
    assert find_dangling(tmp_path / "nginx.conf", (tmp_path / "traefik.yml",)) == Reading(())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("location ~ ^/([a-z.-]+/?)*[0-9]$ { return 200; }", "a regular expression takes too long to evaluate"),
        ("location ~ ( { return 200; }", "a regular expression is not valid in PCRE"),
        ("server_name ~^(a+)+$;", "a regular expression takes too long to evaluate"),
    ],
)
def test_a_pattern_that_cannot_be_followed_is_said_with_its_line(tmp_path: Path, line: str, reason: str) -> None:
    """By lint, and by the diagnosis of a name that needs it; a simple one is not."""
    path = tmp_path / "nginx.conf"
    path.write_text(f"events {{}}\nhttp {{ server {{ listen 80;\n{line}\nlocation ~ \\.php$ {{ return 404; }}\n}} }}\n")
    (cause,) = find_dangling(path, ()).value
    assert (cause.code, cause.variant, cause.place.line, cause.facts) == (
        *("config.unreadable", "pattern", 3),
        {"reason": reason},
    )
    name = "a" * 40 + ".example"
    (observation,) = WebServerConfigs(path, ()).observe(name)
    assert (observation.action, observation.causes) == (ServerAction.UNKNOWN, (cause,))
