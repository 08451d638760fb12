"""nginx's and Traefik's configurations read: what takes a challenge, by which line. Small files, real parsers."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certagent.domain.observations import ServerAction, WebServerObservation
from certagent.vantage import nginx_config
from certagent.vantage.web_server_config import WebServerConfigs

NAME = "app.lan.test"


def _nginx(tmp_path: Path, *servers: str) -> WebServerObservation:
    """The look at an nginx with those server blocks, one a line from line 3 on."""
    path = tmp_path / "nginx.conf"
    path.write_text("events {}\nhttp {\n" + "\n".join(servers) + "\n}\n")
    (look,) = WebServerConfigs(path, ()).observe(NAME)
    return look


@pytest.mark.parametrize(
    ("servers", "action", "line", "target"),
    [
        (["server { listen 80; location / { proxy_pass http://a; } }"], ServerAction.PASSES, 3, "http://a"),
        (["server { listen 80; return 404; }"], ServerAction.ANSWERS, 3, "404"),
        (["server { listen 80; return 301 https://$host; }"], ServerAction.REDIRECTS, 3, "https://$host"),
        (["server { listen 80; return 403; }"], ServerAction.DENIES, 3, "403"),
        (["server { listen 80; root /var/www; }"], ServerAction.SERVES, 3, "/var/www"),
        (["server { listen 80; location / { deny all; proxy_pass http://a; } }"], ServerAction.DENIES, 3, None),
        (
            ["server { listen 80; auth_basic off; location / { proxy_pass http://a; } }"],
            ServerAction.PASSES,
            3,
            "http://a",
        ),
        (
            ["server { listen 80; if ($scheme = http) { return 301 https://a; } }"],
            ServerAction.REDIRECTS,
            3,
            "https://a",
        ),
        (["server { listen 80; rewrite ^/(.*) https://a/$1 permanent; }"], ServerAction.REDIRECTS, 3, "https://a/$1"),
        (
            [
                "server { listen 80; server_name b; return 404; }",
                f"server {{ listen 80; server_name {NAME}; return 410; }}",
            ],
            ServerAction.ANSWERS,
            4,
            "410",
        ),
        (
            ["server { listen 80; server_name *.lan.test; return 404; }", "server { server_name ~^app; return 410; }"],
            ServerAction.ANSWERS,
            3,
            "404",
        ),
        (
            ["server { listen 80; return 404; }", "server { listen 80 default_server; return 410; }"],
            ServerAction.ANSWERS,
            4,
            "410",
        ),
        (
            [
                "server { listen 80;",
                "location ~ /[.] { deny all; }",
                "location /.well-known/ { proxy_pass http://a; } }",
            ],
            ServerAction.DENIES,
            4,
            None,
        ),
        (
            [
                "server { listen 80;",
                "location ~ /[.] { deny all; }",
                "location ^~ /.well-known/ { proxy_pass http://a; } }",
            ],
            ServerAction.PASSES,
            5,
            "http://a",
        ),
    ],
)
def test_nginx_takes_a_challenge_by_this_line(
    tmp_path: Path, servers: list[str], action: ServerAction, line: int | None, target: str | None
) -> None:
    """The server by name, the location by nginx's precedence, the deed by phase."""
    look = _nginx(tmp_path, *servers)
    assert (look.action, look.place.line if look.place else None, look.target) == (action, line, target)


@pytest.mark.parametrize(
    ("inner", "line"),
    [
        ("proxy_pass http://a;", 5),  # nginx says `a`
        ("proxy_pass http://a;\nproxy_set_header Host b;", 6),
        ("proxy_pass http://a;\nproxy_set_header X-Other c;", 5),  # and nothing of the outer block counts
        ("proxy_pass http://a;\nproxy_set_header host $http_host;", None),
        (f"proxy_pass http://a;\nproxy_set_header Host {NAME};", None),
        ("return 404;", None),
    ],
)
def test_nginx_passes_on_under_another_host(tmp_path: Path, inner: str, line: int | None) -> None:
    """By its own line, by an outer block's, by default."""
    look = _nginx(tmp_path, f"server {{ listen 80;\nlocation / {{\n{inner}\n}} }}")
    assert (look.host.line if look.host else None) == line
    outer = _nginx(tmp_path, "server { listen 80;", "proxy_set_header Host $host;", f"location / {{\n{inner}\n}} }}")
    assert (outer.host is not None) == ("header X-Other" in inner or "Host b" in inner)


def test_nginx_port_80_by_tls_is_a_cause(tmp_path: Path) -> None:
    """`ssl` belongs to the socket, whichever server says it."""
    look = _nginx(tmp_path, "server { listen 80; return 404; }", "server { listen 80 ssl; server_name b; }")
    assert [(cause.code, cause.place.line) for cause in look.causes] == [("http01.tls_on_80", 4)]


def test_nginx_without_port_80_has_nothing_to_say(tmp_path: Path) -> None:
    """The box answers with something else then."""
    (tmp_path / "nginx.conf").write_text("events {}\nhttp { server { listen 443 ssl; } }\n")
    assert WebServerConfigs(tmp_path / "nginx.conf", ()).observe(NAME) == ()


def test_an_included_file_that_changes_is_read_again(tmp_path: Path) -> None:
    """And one that comes is found."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "nginx.conf").write_text("events {}\nhttp { include conf.d/*.conf; }\n")
    gateways = WebServerConfigs(tmp_path / "nginx.conf", ())
    assert gateways.observe(NAME) == ()
    (tmp_path / "conf.d" / "a.conf").write_text("server { listen 80; return 404; }\n")
    assert gateways.observe(NAME)[0].target == "404"
    (tmp_path / "conf.d" / "a.conf").write_text("server { listen 80; return 4100; }\n")
    assert gateways.observe(NAME)[0].target == "4100"


def test_what_comes_into_an_included_folder_is_read(tmp_path: Path) -> None:
    """Which was empty before, or was not there; and what an included file includes."""
    path = tmp_path / "nginx.conf"
    path.write_text(
        "events {}\nhttp { include none.conf; include /; include a**; include sites/*.conf;\n"
        "# include other/*;\n include 'more/*/site.conf'; }\n"
    )
    gateways = WebServerConfigs(path, ())
    assert gateways.observe(NAME) == ()
    (tmp_path / "sites").mkdir()
    assert gateways.observe(NAME) == ()
    (tmp_path / "sites" / "a.conf").write_text("include sites/inner;")
    (tmp_path / "sites" / "inner").write_text("server { listen 80; return 404; }")
    (look,) = gateways.observe(NAME)
    assert look.target == "404"
    (tmp_path / "sites" / "inner").write_text("server { listen 80; return 4040; }")
    (look,) = gateways.observe(NAME)
    assert look.target == "4040"


def test_a_new_pair_is_no_reason_to_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred renewals change a hundred files below nginx's folder, and none that it is configured by."""
    path = tmp_path / "nginx.conf"
    path.write_text("events {}\nhttp { server { listen 80; return 404; } }\n")
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    gateways = WebServerConfigs(path, ())
    before = gateways.observe(NAME)
    monkeypatch.setattr(nginx_config, "parse", None)
    (pairs / "1.crt").write_text("a pair")
    assert gateways.observe(NAME) == before


def test_a_file_that_is_none_is_left_out(tmp_path: Path) -> None:
    """Whatever it holds, nothing is raised."""
    (tmp_path / "nginx.conf").write_bytes(b"\xff\x00{{{{ ;;")
    (tmp_path / "traefik.yml").write_bytes(b"\xff\x00: [")
    assert WebServerConfigs(tmp_path / "nginx.conf", (tmp_path / "traefik.yml",)).observe(NAME) == ()


def test_a_line_that_may_hold_a_secret_is_not_shown(tmp_path: Path) -> None:
    """Its place is enough."""
    look = _nginx(tmp_path, "server { listen 80; return 403 'token=abc'; }")
    assert look.place is not None
    assert "abc" not in (look.place.text or "")


STATIC = """entryPoints:
  web: {address: ":80"}
  websecure: {address: ":443"}
providers:
  file: {directory: DYNAMIC}
"""
ROUTER = """http:
  routers:
    challenge:
      entryPoints: [web]
      rule: "PathPrefix(`/.well-known/acme-challenge/`)"
      priority: 1000
      middlewares: [close]
      service: responder
  middlewares:
    close:
      headers: {customResponseHeaders: {Connection: close}}
  services:
    responder:
      loadBalancer:
        servers:
          - url: "http://127.0.0.1:5002"
"""


def _traefik(tmp_path: Path, dynamic: str, static: str = STATIC, **more: str) -> WebServerObservation:
    folder = tmp_path / "dynamic"
    folder.mkdir()
    (folder / "challenge.yml").write_text(dynamic)
    for name, content in more.items():
        (folder / f"{name}.yml").write_text(content)
    (tmp_path / "traefik.yml").write_text(static.replace("DYNAMIC", str(folder)))
    (look,) = WebServerConfigs(tmp_path / "none", (tmp_path / "traefik.yml",)).observe(NAME)
    return look


def test_traefik_passes_by_the_line_of_the_server(tmp_path: Path) -> None:
    """The challenge's own router is told by its path."""
    look = _traefik(tmp_path, ROUTER)
    assert look.place is not None
    assert (look.action, look.place.line, look.target, look.causes) == (
        ServerAction.PASSES,
        16,
        "http://127.0.0.1:5002",
        (),
    )


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        ("[web]", "[http]", "deploy.dangling_reference", 4),
        ("[web]", "[websecure]", "http01.wrong_entrypoint", 4),
        ("[close]", "[closed]", "deploy.dangling_reference", 7),
        ("service: responder", "service: nobody", "deploy.dangling_reference", 8),
    ],
)
def test_traefik_leaves_a_router_out(tmp_path: Path, old: str, new: str, code: str, line: int) -> None:
    """What it names in vain, or where it is instead."""
    look = _traefik(tmp_path, ROUTER.replace(old, new))
    assert [(cause.code, cause.place.line) for cause in look.causes] == [(code, line)]
    assert look.action is ServerAction.ANSWERS


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        ("redirectScheme: {scheme: https}", ServerAction.REDIRECTS),
        ("ipAllowList: {sourceRange: [10.0.0.0/8]}", ServerAction.DENIES),
        ("stripPrefix: {prefixes: [/.well-known]}", ServerAction.REWRITES),
    ],
)
def test_traefik_goes_through_middlewares(tmp_path: Path, kind: str, action: ServerAction) -> None:
    """The first that keeps the challenge from the responder decides."""
    look = _traefik(tmp_path, ROUTER.replace("headers: {customResponseHeaders: {Connection: close}}", kind))
    assert look.place is not None
    assert (look.action, look.place.line) == (action, 11)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("      loadBalancer:\n", "      loadBalancer:\n        passHostHeader: false\n", 15),
        ("{customResponseHeaders: {Connection: close}}", "{customRequestHeaders: {Host: b}}", 11),
    ],
)
def test_traefik_passes_on_under_another_host(tmp_path: Path, old: str, new: str, line: int) -> None:
    """By its service, or by a middleware of the router."""
    look = _traefik(tmp_path, ROUTER.replace(old, new))
    assert look.host is not None
    assert (look.action, look.host.line) == (ServerAction.PASSES, line)


def test_traefik_takes_the_router_of_the_highest_priority(tmp_path: Path) -> None:
    """A maintenance page above everything: the line of its rule."""
    other = ROUTER.replace("PathPrefix(`/.well-known/acme-challenge/`)", "PathPrefix(`/`)").replace("1000", "2000")
    other = other.replace("challenge:", "maintenance:")  # of two of one name Traefik takes the first
    look = _traefik(tmp_path, ROUTER, maintenance=other)
    assert look.place is not None
    assert (look.place.file.rpartition("/")[2], look.place.line) == ("maintenance.yml", 5)


def test_traefiks_own_acme_takes_the_path(tmp_path: Path) -> None:
    """A resolver with http-01 on that entry point comes before every router."""
    own = STATIC + "certificatesResolvers:\n  own:\n    acme:\n      httpChallenge:\n        entryPoint: web\n"
    look = _traefik(tmp_path, ROUTER, own)
    assert [(cause.code, cause.place.line) for cause in look.causes] == [("http01.traefik_acme_router", 9)]


def test_a_file_that_is_put_back_with_its_old_time_has_changed_all_the_same(tmp_path: Path) -> None:
    """As `cp -p` and `mv` leave it; whoever was answered by the broken one was not answered by this one."""
    path, kept = tmp_path / "nginx.conf", tmp_path / "kept"
    path.write_text("events {}\nhttp {\nserver { listen 80; return 404; }\n}\n")
    kept.write_text("events {}\nhttp {\nserver { listen 80; root /var/www; }\n}\n")
    os.utime(kept, (1, 1))
    configs = WebServerConfigs(path, ())
    assert not configs.have_changed_since(datetime.now(UTC) - timedelta(hours=1))  # nothing was read yet
    assert configs.observe(NAME)[0].action is ServerAction.ANSWERS
    began_at = datetime.now(UTC)
    assert not configs.have_changed_since(began_at + timedelta(seconds=1))
    kept.rename(path)
    assert path.stat().st_mtime == 1
    assert configs.observe(NAME)[0].action is ServerAction.SERVES
    assert configs.have_changed_since(began_at - timedelta(seconds=1))
