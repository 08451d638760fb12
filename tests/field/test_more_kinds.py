"""Further members of the field's kinds, each small enough to stand here: files that are no files, another client's pair
by link, key or copy, names and listen lines of every form, and answers that one line explains or none."""

import json
import os
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.field.tree import Tree

ADDRESS = "10.0.0.12"
BASE = {
    "etc/hosts": "127.0.0.1\tlocalhost\n",
    "etc/resolv.conf": "nameserver 10.0.0.153\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
NGINX = "events {}\nhttp {\n    include conf.d/*.conf;\n}\n"
TRAEFIK = """entryPoints:
  web:
    address: ":80"
  websecure:
    address: ":443"
providers:
  file:
    directory: /etc/traefik/d
"""
SERVICE = "  services:\n    s:\n      loadBalancer:\n        servers:\n          - url: http://10.0.0.9\n"
Pair = tuple[str, str, Sequence[str]]


def node(folder: Path, files: Mapping[str, str | bytes], pairs: Sequence[Pair] = (), *addresses: str) -> Tree:
    """A node with these files and pairs (certificate, key, names); `-> TARGET` is a link, None would be nothing."""
    for name, content in {**BASE, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_text(content)
    for certificate, key, names in pairs:
        pair = Authority().issue(*names)
        for name, pem in ((certificate, pair.chain_pem), (key, pair.key_pem)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(pem)
    (folder / "etc/certagent").mkdir(parents=True)
    Authority().write_root(folder / "etc/certagent/root_ca.crt")
    return Tree(folder, addresses or (ADDRESS,))


def site(name: str, pair: str, listen: str = "listen 443 ssl;") -> str:
    """A server with a pair of /etc/nginx/ssl."""
    lines = (listen, f"server_name {name};", f"ssl_certificate ssl/{pair}.crt;", f"ssl_certificate_key ssl/{pair}.key;")
    return "server {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


def pair_of(name: str, *names: str) -> Pair:
    """Below /etc/nginx/ssl."""
    return f"etc/nginx/ssl/{name}.crt", f"etc/nginx/ssl/{name}.key", names


def initialised(tree: Tree, *more: str) -> tuple[list[dict[str, Any]], list[str]]:
    """(the certificates that `init --write` wrote, what is left to a person); the agent's loader has taken the file."""
    directory = "https://ca.home.test:9000/acme/acme/directory"
    words = ["--directory", directory, "--root", "/etc/certagent/root_ca.crt", "--write", *more]
    document = tree.document("init", *words)
    path = "/etc/certagent/agent.toml"
    load = f"from pathlib import Path; from certagent.config import load_agent; load_agent(Path({path!r}))"
    done = tree.run([sys.executable, "-c", load])
    assert (done.returncode, done.stderr) == (0, "")
    written = tomllib.loads((tree.root / path.lstrip("/")).read_text())
    return written.get("certificate", []), document["by_hand"]


def certificates(tree: Tree) -> dict[str, dict[str, Any]]:
    """Each of them by its first name."""
    return {one["identifiers"][0]: one for one in initialised(tree)[0]}


def linted(tree: Tree) -> list[str]:
    """`CODE FILE:LINE` of each finding."""
    return [
        f"{one['code']} {one['culprit']['file']}:{one['culprit']['line']}" for one in tree.document("lint")["findings"]
    ]


def blamed(tree: Tree, identifier: str, *statuses: int) -> str | None:
    """The first line that the diagnosis names (`FILE:LINE`) when the CA saw these answers; a redirect leads to 443."""
    hops = [
        {"address": ADDRESS, "status": status, "port": 80 if number == 0 else 443}
        for number, status in enumerate(statuses)
    ]
    words = [identifier, json.dumps(tree.addresses), json.dumps(hops)]
    done = tree.run([sys.executable, "-m", "tests.field.diagnose", *words])
    assert done.returncode == 0, done.stderr
    culprits = [one["culprit"] or {} for one in json.loads(done.stdout)]
    return next((f"{one['file']}:{one['line']}" for one in culprits if one.get("file")), None)


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


RENEWAL = """archive_dir = {0}/archive/{1}
cert = {0}/live/{1}/cert.pem
privkey = {0}/live/{1}/privkey.pem
chain = {0}/live/{1}/chain.pem
fullchain = {0}/live/{1}/fullchain.pem
[renewalparams]
authenticator = webroot
"""


def test_a_pair_is_its_renewers_by_place_link_key_and_copy(tmp_path: Path) -> None:
    """certbot in a folder of its own; a link to lego's; a key alone that is certbot's; what a deploy hook copies."""
    live, ssl = "-> ../../archive/{}/{}1.pem", "etc/nginx/ssl"
    files = {
        "etc/nginx/nginx.conf": NGINX,
        "etc/nginx/conf.d/own.conf": site("own.home.test", "own"),
        "etc/nginx/conf.d/place.conf": site("place.home.test", "x")
        .replace("ssl/x.crt", "/srv/le/live/p/fullchain.pem")
        .replace("ssl/x.key", "/srv/le/live/p/privkey.pem"),
        "srv/le/renewal/p.conf": RENEWAL.format("/srv/le", "p"),
        "srv/le/live/p/fullchain.pem": live.format("p", "fullchain"),
        "srv/le/live/p/privkey.pem": live.format("p", "privkey"),
        "etc/nginx/conf.d/link.conf": site("link.home.test", "link"),
        f"{ssl}/link.crt": "-> ../../../opt/lego/certificates/link.home.test.crt",
        f"{ssl}/link.key": "-> ../../../opt/lego/certificates/link.home.test.key",
        "opt/lego/certificates/link.home.test.json": '{"domain": "link.home.test"}',
        "etc/nginx/conf.d/key.conf": site("key.home.test", "key"),
        f"{ssl}/key.key": "-> /etc/letsencrypt/live/key/privkey.pem",
        "etc/letsencrypt/live/key/privkey.pem": live.format("key", "privkey"),
        "etc/nginx/conf.d/copy.conf": site("copy.home.test", "copy"),
        "etc/letsencrypt/renewal/copy.conf": RENEWAL.format("/etc/letsencrypt", "copy"),
        "etc/letsencrypt/live/copy/fullchain.pem": live.format("copy", "fullchain"),
        "etc/letsencrypt/live/copy/privkey.pem": live.format("copy", "privkey"),
        "etc/letsencrypt/renewal-hooks/deploy/copy.sh": "cp -L $RENEWED_LINEAGE/*.pem /etc/nginx/ssl/copy.crt\n",
    }
    archive = "etc/letsencrypt/archive/copy"
    pairs = [
        pair_of("own", "own.home.test"),
        ("srv/le/archive/p/fullchain1.pem", "srv/le/archive/p/privkey1.pem", ["place.home.test"]),
        ("opt/lego/certificates/link.home.test.crt", "opt/lego/certificates/link.home.test.key", ["link.home.test"]),
        (f"{ssl}/key.crt", "etc/letsencrypt/archive/key/privkey1.pem", ["key.home.test"]),
        (f"{archive}/fullchain1.pem", f"{archive}/privkey1.pem", ["copy.home.test"]),
    ]
    tree = node(tmp_path, files, pairs)
    shutil.copy(tmp_path / archive / "fullchain1.pem", tmp_path / ssl / "copy.crt")
    shutil.copy(tmp_path / archive / "privkey1.pem", tmp_path / ssl / "copy.key")
    assert {name: one["manage"] for name, one in certificates(tree).items()} == {
        "own.home.test": True,
        **{f"{name}.home.test": False for name in ("place", "link", "key", "copy")},
    }


def test_nobody_is_told_to_take_the_challenge_away_from_who_renews(tmp_path: Path) -> None:
    """All pairs are certbot's: the snippet in its servers would be a second location of that path, or take it."""
    files = {
        "etc/nginx/nginx.conf": NGINX,
        "etc/nginx/conf.d/a.conf": "server {\n    listen 80;\n    server_name a.home.test;\n    root /srv;\n}\n"
        + site("a.home.test", "x")
        .replace("ssl/x.crt", "/etc/letsencrypt/live/a/fullchain.pem")
        .replace("ssl/x.key", "/etc/letsencrypt/live/a/privkey.pem"),
        "etc/letsencrypt/renewal/a.conf": RENEWAL.format("/etc/letsencrypt", "a"),
    }
    live = "etc/letsencrypt/live/a"
    tree = node(tmp_path, files, [(f"{live}/fullchain.pem", f"{live}/privkey.pem", ["a.home.test"])])
    found, by_hand = initialised(tree)
    assert [one["manage"] for one in found] == [False]
    assert not [step for step in by_hand if step.startswith("in nginx's port-80 `server`")]


def test_names_that_no_certificate_can_be_for_cost_none_of_the_others(tmp_path: Path) -> None:
    """An address, a variable, patterns, a name in capitals, with a dot at its end, in Unicode, with an underscore."""
    names = {
        "a": "WIKI.Home.Test wiki.home.test. 10.0.0.5 $hostname www.* _",
        "b": "b\u00fccher.home.test b.home.test",
        "c": "my_host.home.test c.home.test",
        "d": ".all.home.test 10.0.0.5",
        "e": '~^x\\d+\\.home\\.test$ "" e.home.test',
    }
    files = {f"etc/nginx/conf.d/{key}.conf": site(value, key) for key, value in names.items()}
    pairs = [pair_of("a", "wiki.home.test"), pair_of("d", "all.home.test", "*.all.home.test")]
    pairs += [pair_of(key, f"{key}.home.test") for key in "bce"]
    tree = node(tmp_path, {"etc/nginx/nginx.conf": NGINX, **files}, pairs)
    assert {tuple(sorted(one["identifiers"])) for one in initialised(tree)[0]} == {
        ("wiki.home.test",),
        ("b.home.test",),
        ("c.home.test",),
        ("*.all.home.test", "all.home.test"),
        ("e.home.test",),
    }


LISTENS = {
    "listen unix:/run/a.sock ssl; listen 443 quic reuseport; listen 443 ssl;": ["10.0.0.12:443"],
    "listen 9443 ssl proxy_protocol; listen 10.0.0.12:9444 ssl;": ["10.0.0.12:9444"],
    "listen 80; listen *:8443 ssl http2;": ["10.0.0.12:8443"],
    "listen 127.0.0.1:4443 ssl;": ["127.0.0.1:4443"],
    "listen 7443; ssl on;": ["10.0.0.12:7443"],
    "listen 443 ssl; listen [fd00::12]:443 ssl;": ["10.0.0.12:443", "[fd00::12]:443"],
}


@pytest.mark.parametrize("listen", LISTENS)
def test_a_proof_is_where_a_client_can_be_served(listen: str, tmp_path: Path) -> None:
    files = {"etc/nginx/nginx.conf": NGINX, "etc/nginx/conf.d/a.conf": site("a.home.test", "a", listen)}
    tree = node(tmp_path, files, [pair_of("a", "a.home.test")], ADDRESS, "fd00::12")
    assert certificates(tree)["a.home.test"]["deploy"][0]["prove"] == LISTENS[listen]


def test_there_is_no_proof_by_ipv6_where_it_is_switched_off(tmp_path: Path) -> None:
    """As in many containers: nginx binds [::] all the same, and nobody can connect to ::1."""
    listen = "listen 443 ssl; listen [::]:443 ssl;"
    files = {"etc/nginx/nginx.conf": NGINX, "etc/nginx/conf.d/a.conf": site("a.home.test", "a", listen)}
    tree = node(tmp_path, files, [pair_of("a", "a.home.test")])
    off = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"
    words = "init --directory https://ca.home.test:9000/acme/acme/directory --root /etc/certagent/root_ca.crt --write"
    done = tree.run(["sh", "-ec", f"{off}; {sys.executable} -m certagent.cli {words}"])
    assert done.returncode == 0, done.stderr
    written = tomllib.loads((tmp_path / "etc/certagent/agent.toml").read_text())
    assert written["certificate"][0]["deploy"][0]["prove"] == ["10.0.0.12:443"]


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
    assert blamed(tree, "a.home.test", 403) == "/etc/nginx/my sites/a b.conf:7"


def test_what_an_included_file_includes_in_vain_is_named_there(tmp_path: Path) -> None:
    inner = "server {\n  listen 80;\n  server_name a.home.test;\n  include snip/none.conf;\n  return 503;\n}\n"
    tree = node(tmp_path, {"etc/nginx/nginx.conf": NGINX, "etc/nginx/conf.d/a.conf": inner})
    assert linted(tree) == ["deploy.dangling_reference /etc/nginx/conf.d/a.conf:4"]
    assert blamed(tree, "a.home.test", 503) == "/etc/nginx/conf.d/a.conf:5"


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


@pytest.mark.parametrize(("identifier", "status", "line"), CHOSEN)
def test_a_server_is_chosen_as_nginx_chooses(identifier: str, status: int, line: int, tmp_path: Path) -> None:
    tree = node(tmp_path, {"etc/nginx/nginx.conf": NGINX, "etc/nginx/conf.d/a.conf": CHOICES})
    assert blamed(tree, identifier, status) == f"/etc/nginx/conf.d/a.conf:{line}"


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


@pytest.mark.parametrize(("identifier", "status", "line"), ANSWERED)
def test_a_location_is_followed_to_what_answers(identifier: str, status: int, line: int, tmp_path: Path) -> None:
    """Nested ones, named ones, `error_page`, `rewrite ... last`, and limits that a GET does not meet."""
    tree = node(tmp_path, {"etc/nginx/nginx.conf": NGINX, "etc/nginx/conf.d/a.conf": LOCATIONS})
    assert blamed(tree, identifier, status) == f"/etc/nginx/conf.d/a.conf:{line}"


@pytest.mark.parametrize(("identifier", "status"), [("a.test", 404), ("d.test", 502), (f"{'a' * 40}.test", 404)])
def test_no_line_is_blamed_for_what_it_does_not_do(identifier: str, status: int, tmp_path: Path) -> None:
    tree = node(tmp_path, {"etc/nginx/nginx.conf": NGINX, "etc/nginx/conf.d/a.conf": LOCATIONS})
    assert blamed(tree, identifier, status) is None


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
    assert blamed(tree, "a.home.test", *statuses) == (None if line is None else f"/etc/traefik/{line}")


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


def test_imports_name_what_they_skip(tmp_path: Path) -> None:
    """certbot's renewal files with a byte order mark and CRLF, without a pair, linked to nowhere, as a folder, in
    UTF-16."""
    live, renewal = "etc/letsencrypt/live", "etc/letsencrypt/renewal"
    files: dict[str, str | bytes] = {
        f"{renewal}/a.conf": ("\ufeff" + RENEWAL.format("/etc/letsencrypt", "a")).replace("\n", "\r\n"),
        f"{renewal}/b.conf": RENEWAL.format("/etc/letsencrypt", "b"),
        f"{renewal}/d.conf/in": "",
        f"{renewal}/e.conf": "-> /nowhere",
        f"{renewal}/f.conf": RENEWAL.format("/etc/letsencrypt", "f").encode("utf-16"),
    }
    tree = node(tmp_path, files, [(f"{live}/a/fullchain.pem", f"{live}/a/privkey.pem", ["a.home.test"])])
    found, by_hand = initialised(tree, "--import", "/etc/letsencrypt")
    assert [one["identifiers"] for one in found] == [["a.home.test"]]
    assert all(any(f"/{renewal}/{name}.conf" in step for step in by_hand) for name in "bdef")


def test_a_hook_of_acme_sh_that_cannot_be_decoded_is_not_lost(tmp_path: Path) -> None:
    hook = "'__ACME_BASE64__START_!!!__ACME_BASE64__END_'"
    lines = f"Le_Domain=a.home.test\nLe_Alt=no\nLe_RealFullChainPath=/etc/ssl/own/a.pem\nLe_ReloadCmd={hook}\n"
    files = {"opt/acme.sh/a.home.test/a.home.test.conf": f"{lines}Le_RealKeyPath=/etc/ssl/own/a.key\n"}
    tree = node(tmp_path, files, [("etc/ssl/own/a.pem", "etc/ssl/own/a.key", ["a.home.test"])])
    found, _ = initialised(tree, "--import", "/opt/acme.sh")
    assert [(one["identifiers"], one["manage"]) for one in found] == [(["a.home.test"], False)]
    assert "__ACME_BASE64__START_!!!" in (tmp_path / "etc/certagent/agent.toml").read_text()


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
