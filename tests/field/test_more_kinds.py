"""Further members of the field's kinds: files that are no files, lines past includes, answers that one line explains
or none, and lines of a hosts file that only look right."""

import os
from pathlib import Path

import pytest

from tests.field.expectations import Seen, SeenHop
from tests.field.small_nodes import (
    ADDRESS,
    NGINX,
    SERVICE,
    TRAEFIK,
    blamed,
    certificates,
    initialised,
    linted,
    node,
    pair_of,
    site,
)

pytestmark = pytest.mark.slow


def test_what_is_no_file_among_the_sites_is_named_and_the_others_count(tmp_path: Path) -> None:
    """A folder, a named pipe, a link to /dev/zero, one to nowhere; nginx reads none of them, and neither do we."""
    sites = {
        "etc/nginx/nginx.conf": NGINX,
        "etc/nginx/conf.d/a.conf": site("a.home.test", "a"),
        "etc/nginx/conf.d/b.conf/in": "",
        "etc/nginx/conf.d/c.conf": "-> /dev/zero",
        "etc/nginx/conf.d/d.conf": "-> /nowhere",
        "etc/nginx/conf.d/z.conf": site("z.home.test", "z"),
    }
    tree = node(tmp_path, sites, [pair_of("a", "a.home.test"), pair_of("z", "z.home.test")])
    os.mkfifo(tmp_path / "etc/nginx/conf.d/e.conf")
    unreadable = [one.partition(" ")[2].rpartition(":")[0] for one in linted(tree) if one.startswith("config.unread")]
    assert {f"/etc/nginx/conf.d/{name}.conf" for name in "bce"} <= set(unreadable)
    assert set(certificates(tree)) == {"a.home.test", "z.home.test"}


def test_a_broken_file_of_traefiks_is_named_with_its_line_and_the_others_are_read(tmp_path: Path) -> None:
    """A key twice, a tab; an alias of itself, and one that would be millions of lines. Traefik refuses these (and with
    them its folder, until they are gone); of a second document it reads nothing, and says nothing."""
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    files = {
        "etc/traefik/traefik.yml": TRAEFIK,
        "etc/traefik/d/bomb.yml": f"{bomb}http: *i\n",
        "etc/traefik/d/dup.yml": "http:\n  routers:\n    a: {rule: Host(`x.home.test`), service: s}\n    a: {}\n",
        "etc/traefik/d/ok.yml": f"http:\n  routers:\n    ok: {{rule: Host(`ok.home.test`), service: s}}\n{SERVICE}",
        "etc/traefik/d/self.yml": "http: &h\n  routers: *h\n",
        "etc/traefik/d/tab.yml": "http:\n\trouters: {}\n",
        "etc/traefik/d/two.yml": "---\nhttp:\n  routers:\n    t: {rule: Host(`two.home.test`), service: s}\n---\n- a\n",
    }
    tree = node(tmp_path, files)
    unreadable = [one.removeprefix("config.unreadable ") for one in linted(tree) if one.startswith("config.unreadable")]
    assert {"/etc/traefik/d/dup.yml:4", "/etc/traefik/d/tab.yml:2"} <= set(unreadable)
    assert not [one for one in unreadable if "/two.yml" in one or "/ok.yml" in one]
    assert {"ok.home.test", "two.home.test"} <= set(initialised(tree)[0][0]["identifiers"])


def test_lines_are_counted_past_includes_line_ends_and_directives_of_several_lines(tmp_path: Path) -> None:
    """A quoted include with a blank, one in an included file (from nginx.conf's folder), one twice, CRLF."""
    server = (
        "server {\n    listen 80;\n    server_name a.home.test;\n    include snip/one.conf;\n"
        "    ssl_client_certificate /gone/1.pem;\n    include snip/one.conf;\n"
        "    location / { include snip/two.conf; return 403; }\n    ssl_trusted_certificate /gone/2.pem;\n}\n"
    )
    main = "events {}\nhttp {\n    include 'my sites/*.conf';\n    ssl_dhparam\n        /etc/nginx/none.pem;\n}\n"
    files = {
        "etc/nginx/nginx.conf": main,
        "etc/nginx/my sites/a b.conf": server.replace("\n", "\r\n"),
        "etc/nginx/snip/one.conf": "# one\n# two\ninclude snip/deep.conf;\n",
        "etc/nginx/snip/deep.conf": "add_header X y;\n",
        "etc/nginx/snip/two.conf": "\n\nadd_header X z;\n",
    }
    tree = node(tmp_path, files)
    assert sorted(linted(tree)) == [
        "deploy.dangling_reference /etc/nginx/my sites/a b.conf:5",
        "deploy.dangling_reference /etc/nginx/my sites/a b.conf:8",
        "deploy.dangling_reference /etc/nginx/nginx.conf:4",
    ]
    assert blamed(tree, ("a.home.test", [403])) == ["/etc/nginx/my sites/a b.conf:7"]


def test_what_an_included_file_includes_in_vain_is_named_there(tmp_path: Path) -> None:
    inner = "server {\n  listen 80;\n  server_name a.home.test;\n  include snip/none.conf;\n  return 503;\n}\n"
    tree = node(tmp_path, {"etc/nginx/nginx.conf": NGINX, "etc/nginx/conf.d/a.conf": inner})
    assert linted(tree) == ["deploy.dangling_reference /etc/nginx/conf.d/a.conf:4"]
    assert blamed(tree, ("a.home.test", [503])) == ["/etc/nginx/conf.d/a.conf:5"]


CHOICES = """server { listen 80; server_name *.home.test; return 501; }
server { listen 80; server_name *.lab.home.test;
  return 502; }
server { listen 80; server_name www.*;
  return 503; }
server { listen 80; server_name ~^WWW2\\.;
  return 504; }
server { server_name nolisten.test;
  return 505; }
server { listen *:80 default_server;
  return 506; }
"""
CHOSEN = [
    ("x.lab.home.test", 502, 3),
    ("www.home.test", 501, 1),
    ("www.other.test", 503, 5),
    ("www2.other.test", 504, 7),  # capitals in the pattern: nginx ignores case
    ("nolisten.test", 505, 9),
    ("else.test", 506, 11),
]


def test_a_server_is_chosen_as_nginx_chooses(tmp_path: Path) -> None:
    tree = node(tmp_path, {"etc/nginx/nginx.conf": NGINX, "etc/nginx/conf.d/a.conf": CHOICES})
    found = blamed(tree, *((name, [status]) for name, status, _ in CHOSEN))
    assert found == [f"/etc/nginx/conf.d/a.conf:{line}" for _, _, line in CHOSEN]


LOCATIONS = """server { listen 80; server_name a.test;
  location ^~ /.well-known/ { location ~ acme {
    return 403; } return 200; }
  location ~ ^/\\.well { return 500; } }
server { listen 80; server_name b.test; error_page 404 = @other; root /srv/b;
  location @other { proxy_pass
    http://10.0.0.77; } }
server { listen 80; server_name c.test; location / { try_files $uri @app; }
  location @app { proxy_pass http://10.0.0.78; } }
server { listen 80; server_name d.test; rewrite ^/\\.well-known/acme-challenge/(.*) /tokens/$1 last;
  location /tokens/ { return 410; }
  location /.well-known/ { return 404; } }
server { listen 80; server_name e.test; location / { limit_except GET { deny all; }
  proxy_pass http://10.0.0.80; } }
server { listen 80; server_name f.test; auth_basic "x"; auth_basic_user_file /x;
  location /.well-known/acme-challenge/ { auth_basic off;
    proxy_pass http://10.0.0.82/acme/; } }
server { listen 80; server_name ~^(([a-z]+)+)+\\.slow$;
  return 418; }
"""
ANSWERED = [
    ("a.test", 403, 3),
    ("b.test", 502, 6),
    ("c.test", 502, 9),
    ("d.test", 410, 11),
    ("e.test", 502, 14),
    ("f.test", 502, 17),
]


def test_a_location_is_followed_to_what_answers(tmp_path: Path) -> None:
    """Nested ones, named ones, `error_page`, `rewrite ... last`, and limits that a GET does not meet."""
    tree = node(tmp_path, {"etc/nginx/nginx.conf": NGINX, "etc/nginx/conf.d/a.conf": LOCATIONS})
    found = blamed(tree, *((name, [status]) for name, status, _ in ANSWERED))
    assert found == [f"/etc/nginx/conf.d/a.conf:{line}" for _, _, line in ANSWERED]


def test_no_line_is_blamed_for_what_it_does_not_do(tmp_path: Path) -> None:
    """The last name costs a pattern with nested repetitions millions of steps."""
    tree = node(tmp_path, {"etc/nginx/nginx.conf": NGINX, "etc/nginx/conf.d/a.conf": LOCATIONS})
    assert blamed(tree, ("a.test", [404]), ("d.test", [502]), (f"{'a' * 40}.test", [404])) == [None, None, None]


OURS = """http:
  routers:
    certagent-challenge:
      rule: PathPrefix(`/.well-known/acme-challenge/`)
      entryPoints: [web]
      service: c
      priority: 100000
  services:
    c:
      loadBalancer:
        servers:
          - url: http://127.0.0.1:5002
"""
REDIRECTION = TRAEFIK.replace(
    'address: ":80"\n',
    'address: ":80"\n    http:\n      redirections:\n        entryPoint:\n          to: websecure\n',
)
CATCH_ALL = """http:
  routers:
    all:
      rule: HostRegexp(`.*`)
      entryPoints: [web]
      middlewares: [plain]
      service: noop@internal
      priority: 200000
  middlewares:
    plain:
      chain:
        middlewares: [tohttps]
    tohttps:
      redirectScheme:
        scheme: https
"""


@pytest.mark.parametrize(
    ("static", "more", "statuses", "line"),
    [
        (REDIRECTION, "", (301, 404), "traefik.yml:6"),
        (REDIRECTION.replace("to: web", "priority: 1\n          to: web"), "", (404,), None),
        (REDIRECTION.replace("to: web", "priority: 1\n          to: web"), "", (301, 404), None),
        (TRAEFIK, CATCH_ALL, (301, 404), "d/more.yml:14"),
        (TRAEFIK, "", (502,), None),
    ],
    ids=["redirection", "ours answers", "ours does not redirect", "a catch-all router", "ours does not fail"],
)
def test_traefiks_redirect_is_blamed_where_it_wins(
    static: str, more: str, statuses: tuple[int, ...], line: str | None, tmp_path: Path
) -> None:
    tree = node(
        tmp_path, {"etc/traefik/traefik.yml": static, "etc/traefik/d/c.yml": OURS, "etc/traefik/d/more.yml": more}
    )
    assert blamed(tree, ("a.home.test", statuses)) == [None if line is None else f"/etc/traefik/{line}"]


def test_of_two_web_servers_the_one_that_listens_there_answered(tmp_path: Path) -> None:
    """nginx on one address of the node, Traefik on the other."""
    static = REDIRECTION.replace('address: ":80"', 'address: "10.0.0.13:80"')
    server = "server {\n    listen 10.0.0.12:80;\n    server_name a.test;\n    return 301 https://$host/;\n}\n"
    files = {"etc/nginx/nginx.conf": NGINX, "etc/nginx/conf.d/a.conf": server, "etc/traefik/traefik.yml": static}
    tree = node(tmp_path, files, (), ADDRESS, "10.0.0.13")
    other = Seen(identifier="a.test", hops=(SeenHop(address="10.0.0.13", status=301),))
    assert blamed(tree, ("a.test", [301]), ("a.test", [404])) == ["/etc/nginx/conf.d/a.conf:4", None]
    assert [one["culprit"]["file"] for one in tree.diagnoses([other])[0]] == ["/etc/traefik/traefik.yml"]


def test_an_answer_of_nginxs_is_not_blamed_on_traefik_elsewhere(tmp_path: Path) -> None:
    """Traefik listens on the node's other address alone; nginx's application redirects."""
    static = REDIRECTION.replace('address: ":80"', 'address: "10.0.0.13:80"')
    files = {"etc/traefik/traefik.yml": static, "etc/nginx/nginx.conf": NGINX}
    server = "server {\n    listen 10.0.0.12:80;\n    return 403;\n}\n"
    tree = node(tmp_path, {**files, "etc/nginx/conf.d/a.conf": server}, (), ADDRESS, "10.0.0.13")
    assert blamed(tree, ("a.test", [301, 404])) == [None]


def test_traefiks_rules_are_read_in_every_spelling(tmp_path: Path) -> None:
    """Names in several hosts of one rule, in quotes, of a TCP router; headers and what is excluded are none."""
    rules = {
        "a": "Host(`a.home.test`, `b.home.test`) && Header(`X-Host`, `no.home.test`)",
        "r": "HostRegexp(`^.+\\.re\\.home\\.test$`)",
        "q": 'Host("q.home.test") && Query(`host`, `nq.home.test`)',
        "n": "!(Host(`n1.home.test`) || Host(`n2.home.test`)) && PathPrefix(`/x`)",
    }
    routers = "".join(f"    {name}:\n      rule: '{rule}'\n      service: s\n" for name, rule in rules.items())
    tcp = "tcp:\n  routers:\n    m:\n      rule: HostSNI(`mq.home.test`)\n      service: m\n      tls: {}\n"
    tcp += "  services:\n    m:\n      loadBalancer:\n        servers:\n          - address: 10.0.0.9:1883\n"
    files = {"etc/traefik/traefik.yaml": TRAEFIK, "etc/traefik/d/a.yml": f"http:\n  routers:\n{routers}{SERVICE}{tcp}"}
    tree = node(tmp_path, files)
    assert linted(tree) == []
    assert set(initialised(tree)[0][0]["identifiers"]) == {f"{name}.home.test" for name in ("a", "b", "q", "mq")}


MANAGED = {
    "Puppet": "# HEADER: This file was autogenerated at 2026-01-01 by puppet.\n10.0.0.5 a.home.test\n",
    "Salt": "# START managed zone salt -DO-NOT-EDIT-\n10.0.0.5 a.home.test\n# END managed zone salt --\n",
    "Ansible": "## BEGIN fleet (Ansible managed)\n10.0.0.5 a.home.test\n## END fleet (Ansible managed)\n",
    "kubelet": "# Kubernetes-managed hosts file.\n10.0.0.5 a.home.test\n",
}


@pytest.mark.parametrize("owner", MANAGED)
def test_a_hosts_file_is_its_writers(owner: str, tmp_path: Path) -> None:
    tree = node(tmp_path, {"etc/hosts": f"127.0.0.1 localhost\n{MANAGED[owner]}"})
    assert tree.document("lint")["files"]["/etc/hosts"]["managed_by"] == [owner]


ODD = [
    (True, "10.0.0.5 w\u0456ki.home.test"),
    (True, "10.0.0.5 so\u00adft.home.test"),
    (True, "10.0.0.5 a.home.test, b.home.test"),
    (True, "10.0.0.5\u3000ideo.home.test"),
    (True, "10.0.0.5 \u202eevil.home.test"),
    (True, "0x0a000005 hex.home.test"),
    (True, "10.0.0.5 user@host.home.test"),
    (True, "10.0.0.5"),
    (False, "10.0.0.5 ok.home.test # fine, really: https://x"),
    (False, "10.0.0.5 under_score.home.test"),
    (False, "fe80::1%eth0 link.home.test"),
    (False, "10.0.0.6 dot.home.test."),
]


def test_hosts_lines_that_only_look_right_are_said_and_no_other(tmp_path: Path) -> None:
    text = "".join(f"{line}\n" for _, line in ODD)
    tree = node(tmp_path, {"etc/hosts": text})
    expected = [f"dns.hosts_ignored /etc/hosts:{number}" for number, (odd, _) in enumerate(ODD, 1) if odd]
    assert sorted(one for one in linted(tree) if "ignored" in one) == sorted(expected)
