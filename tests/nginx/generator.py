"""Configurations of nginx made by chance, every kind of statement that decides about a request in them.

Each block that can answer says who it is by `add_header X-Where ... always`, so that an answer shows its server and its
location. Nothing here knows what certagent makes of them.
"""

import random
from collections.abc import Callable, Sequence

import msgspec

ADDRESSES = ("10.9.0.1", "10.9.0.2", "10.9.0.3", "fd00:9::1")
"""Those of the namespace, besides loopback."""
UPSTREAMS = (9001, 9002)
"""Ports of loopback that answer; 9009 does not."""
PATH = "/.well-known/acme-challenge/token"
NAMES = ("wiki.home.test", "app.home.test", "www.wiki.home.test", "home.test", "nobody.example", "x.apps.home.test")

_EXACT = ("wiki.home.test", "app.home.test", "WIKI.home.test", "home.test", "www.wiki.home.test", "x.apps.home.test")
_WILD = (
    "*.home.test",
    ".home.test",
    "*.wiki.home.test",
    "wiki.*",
    "www.wiki.*",
    "app.home.*",
    ".apps.home.test",
    "*.test",
)
_REGEX = (
    r"~^(?<app>[a-z0-9-]+)\.home\.test$",
    r"~home",
    r"~^WIKI\.",
    r"~^(?P<first>.+)\.test$",
    r'"~^[a-z]{4}\.home"',
    r"~(?<!www\.)wiki\.",
    r"~^(?>app|x)\.",
    r"~^(?i)APP\.",
    r"~^\w++\.apps",
)
_PREFIXES = (
    "/",
    "/.well-known/",
    "/.well-known/acme-challenge/",
    "/.well-known/acme-challenge",
    "'/.well-known/acme-challenge'",
    "/moved/",
    "/errors/",
    "^~ /",
    "^~ /.well-known/",
    "^~ /.well-known/acme-challenge/",
    "= /.well-known/acme-challenge/token",
    "=/.well-known/acme-challenge/token",
    "= /moved/token",
    "/.well-known/acme-challenge/token/",
    "/.WELL-KNOWN/",
)
_PATTERNS = (
    r"~ /\.",
    r"~ ^/(.+/|)\.",
    r"~* \.(php|jpg)$",
    r"~* ^/\.WELL-KNOWN/",
    r'~ "^/\.well-known/(?<rest>.{3,})$"',
    r"~ ^/(?:moved|errors)/",
    r"~ ^/\.(?!well-known)",
    r"~ token$",
    r"~ \.html$",
    r"~* TOKEN",
)
_CODES = (200, 204, 400, 401, 403, 404, 410, 444, 500, 502, 503)


_HEAD = "user root;\nerror_log error.log notice;\nevents {}\n"
_VARIABLES = "server { listen unix:variables; set $mine 1; set $backend 1; }"
"""What else nginx does not know when nobody sets it."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request for the challenge's path: for this name, at this address."""

    name: str
    address: str


class Generated(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a configuration, by name below its folder (`nginx.conf` is the first), and what to ask of it."""

    files: dict[str, str]
    asks: tuple[Ask, ...]


def generate(seed: int) -> Generated:
    """The same for the same seed."""
    return _Generator(random.Random(seed)).generate()  # noqa: S311 -- no secret


class _Generator:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._files: dict[str, str] = {}
        self._number = 0
        self._defaults: set[str] = set()

    def generate(self) -> Generated:
        servers = [self._server() for _ in range(self._rng.randint(1, 5))]
        lines = ["access_log off;", "client_body_temp_path tmp;", "proxy_temp_path tmp;", "fastcgi_temp_path tmp;"]
        lines += ["uwsgi_temp_path tmp;", "scgi_temp_path tmp;", "map_hash_bucket_size 128;", "root empty;"]
        lines += ["ssl_certificate pair.crt;", "ssl_certificate_key pair.key;"]
        lines += ["upstream live { server 127.0.0.1:9001; }", "upstream dead { server 127.0.0.1:9009; }"]
        lines.append(
            "map $host $by_host { hostnames; default other; wiki.home.test wiki; *.apps.home.test apps; ~^app yes; }"
        )
        lines.append("map $request_uri $is_challenge { default 0; ~^/\\.well-known/ 1; }")
        lines.append("geo $is_near { default 0; 10.9.0.0/16 1; fd00::/8 1; }")
        if self._chance(0.15):
            lines.append(
                self._rng.choice(["error_page 404 /errors/all;", "deny all;", "error_page 502 =503 /errors/down;"])
            )
        self._files["nginx.conf"] = _HEAD + _block("http", [*lines, *servers, _VARIABLES]) + "\n"
        asks = [Ask(name=self._rng.choice(NAMES), address=self._rng.choice(ADDRESSES)) for _ in range(6)]
        return Generated(files=self._files, asks=tuple(asks))

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share

    def _where(self, kind: str) -> str:
        self._number += 1
        return f"add_header X-Where {kind}{self._number} always;"

    def _server(self) -> str:
        lines = self._listens()
        if self._chance(0.9):
            pools = self._rng.choices(
                (_EXACT, _WILD, _REGEX, ("_", '""')), weights=(5, 4, 3, 1), k=self._rng.randint(1, 2)
            )
            lines.append(f"server_name {' '.join(self._rng.choice(pool) for pool in pools)};")
        lines.append(self._where("s"))
        lines += self._some(0.12, self._rewriting, in_server=True)
        lines += self._some(0.08, self._access, in_server=True)
        if self._chance(0.15):
            lines.append(self._error_page())
        if self._chance(0.05):
            lines.append("proxy_set_header Host other.test;")
        lines += self._locations(self._rng.randint(0, 4), nested=0)
        lines += [f"location @named {{ {self._where('n')} {self._content()} }}"]
        self._rng.shuffle(lines)
        return self._perhaps_included(_block("server", lines))

    def _some(self, share: float, make: Callable[..., str], **options: bool) -> list[str]:
        found = []
        while self._chance(share):
            found.append(make(**options))
        return found

    def _perhaps_included(self, text: str) -> str:
        if not self._chance(0.2):
            return text
        name = f"part-{len(self._files)}.conf"
        self._files[name] = text + "\n"
        return f"include {self._rng.choice([name, name.replace('.conf', '.*')])};"

    def _listens(self) -> list[str]:
        found: dict[str, str] = {}
        choices = [
            "80",
            "80",
            "80",
            "*:80",
            "8080",
            "127.0.0.1:80",
            *(f"{one}:80" for one in ADDRESSES[:2]),
            ADDRESSES[0],
        ]
        choices += ["[::]:80", "[fd00:9::1]:80", "[fd00:9::1]", "10.9.0.1:79-81", "unix:sock"]
        for line in self._rng.choices(choices, k=self._rng.choice((0, 1, 1, 1, 2))):
            key = {
                "80": "*:80",
                "10.9.0.1": "10.9.0.1:80",
                "[fd00:9::1]": "[fd00:9::1]:80",
                "10.9.0.1:79-81": "10.9.0.1:80",
            }
            socket = key.get(line, line)
            options = ""
            if socket not in self._defaults and line != "10.9.0.1:79-81" and self._chance(0.15):
                options += " default_server"
                self._defaults.add(socket)
            options += self._rng.choices(("", " proxy_protocol", " ssl"), weights=(60, 1, 1))[0]
            found.setdefault(socket, f"listen {line}{options};")
        return list(found.values())

    def _locations(self, count: int, *, nested: int) -> list[str]:
        found: dict[str, str] = {}
        for _ in range(count):
            match = self._rng.choice(_PREFIXES if self._chance(0.6) else _PATTERNS)
            key = match.replace("'", "").removeprefix("^~ ").replace("= ", "=")
            found.setdefault(key, self._location(match, nested=nested))
        return list(found.values())

    def _location(self, match: str, *, nested: int) -> str:
        lines = [self._where("l")]
        if self._chance(0.06):
            lines.append("internal;")
        lines += self._some(0.15, self._rewriting, in_server=False)
        lines += self._some(0.12, self._access, in_server=False)
        if self._chance(0.12):
            lines.append(self._error_page())
        lines.append(self._content(is_prefix=match.startswith(("/", "'", "^~"))))
        if nested < 2 and not match.startswith("=") and self._chance(0.15):
            inner = self._rng.choice((*_PATTERNS, match.split()[-1].strip("'") if "~" not in match else _PATTERNS[0]))
            if inner != match and "~" in inner:
                lines.append(self._location(inner, nested=nested + 1))
        self._rng.shuffle(lines)
        return self._perhaps_included(_block(f"location {match}", lines))

    def _rewriting(self, *, in_server: bool) -> str:
        plain = [
            "return 301 https://$host$request_uri;",
            "return https://other.test/;",
            "return 308 /moved/$host;",
            f"return {self._rng.choice(_CODES)};",
            "return 200 'text of $host';",
            f"rewrite ^/\\.well-known/(.*)$ /moved/$1{self._flag()};",
            f"rewrite token$ /moved/token{self._flag()};",
            f"rewrite ^/moved/ /errors/x{self._flag()};",
            "rewrite ^(/.*)$ https://other.test$1;",
            "rewrite nowhere /moved/token last;",
            "set $mine $host;",
            "set $mine '${scheme}1';",
            "break;",
        ]
        inner = self._rng.choice(plain)
        if self._chance(0.5):
            return inner
        if not in_server and self._chance(0.2):
            inner = self._rng.choice(
                ["proxy_pass http://127.0.0.1:9002;", "add_header X-Where if always;", "root empty;"]
            )
        condition = self._rng.choice(
            [
                "$scheme = http",
                "$scheme = https",
                "$host = wiki.home.test",
                "$host != wiki.home.test",
                "$host ~* ^WIKI",
                "$host !~ home",
                "$request_uri ~ ^/\\.well-known",
                "$request_uri !~ acme-challenge",
                "$request_method = POST",
                '$request_method !~ "^(GET|HEAD)$"',
                "$http_x_forwarded_proto",
                '$http_x_forwarded_proto = ""',
                '$http_x_forwarded_proto = "https"',
                "$mine = http1",
                "$mine",
                "$is_challenge",
                "$is_challenge = 0",
                "$by_host = apps",
                "$is_near",
                "$uri ~ /moved/",
                "$args",
                "$server_port = 80",
                "$https",
                "$remote_addr ~ ^10",
                "$server_name = _",
                "-f $document_root/none",
                "!-e $request_filename",
                "$time_iso8601 ~ ^19",
            ]
        )
        return f"if ({condition}) {{ {inner} }}"

    def _flag(self) -> str:
        return self._rng.choice(("", " last", " break", " redirect", " permanent"))

    def _access(self, *, in_server: bool) -> str:
        if not in_server and self._chance(0.15):
            return self._rng.choice(("limit_except GET { deny all; }", "limit_except POST { deny all; }"))
        return self._rng.choice(
            [
                "deny all;",
                "allow all;",
                "allow 10.9.0.0/24;",
                "deny 10.9.0.2;",
                "deny fd00:9::/64;",
                "allow 192.0.2.0/24;",
                "auth_basic 'who';\nauth_basic_user_file nobody;",
                "auth_basic off;",
                "satisfy any;",
            ]
        )

    def _error_page(self) -> str:
        codes = self._rng.choice(("404", "403 404", "502 504", "401", "500 503", "301", "410"))
        target = self._rng.choice(
            [
                "/errors/x",
                "=200 /errors/ok",
                "= @named",
                "@named",
                "= /moved/token",
                "https://other.test/",
                "=301 https://a.test/",
            ]
        )
        return f"error_page {codes} {target};"

    def _content(self, *, is_prefix: bool = False) -> str:
        live = self._rng.choice(UPSTREAMS)
        return self._rng.choice(
            [
                f"proxy_pass http://127.0.0.1:{live};",
                f"proxy_pass http://127.0.0.1:{live};",
                "proxy_pass http://127.0.0.1:9009;",
                "proxy_pass http://live;\nproxy_set_header Host $host;",
                "proxy_pass http://dead;",
                "proxy_pass http://live/;" if is_prefix else "proxy_pass http://live;",
                f"set $backend 127.0.0.1:{live};\nproxy_pass http://$backend;",
                "set $backend 127.0.0.1:9001;\nproxy_pass http://$backend$request_uri;",
                "fastcgi_pass 127.0.0.1:9009;",
                "root empty;",
                "root empty;\ntry_files $uri =404;",
                "try_files $uri $uri/ @named;",
                "try_files $uri /errors/fallback;",
                "try_files $uri =410;",
                "alias empty/;" if is_prefix else "root none;",
                "proxy_pass http://127.0.0.1:9002;\nproxy_intercept_errors on;",
                f"return {self._rng.choice(_CODES)};",
                "return 301 https://$host$request_uri;",
                "return 200 ok;",
                "",
            ]
        )


def _block(head: str, lines: Sequence[str]) -> str:
    body = "\n".join(lines).replace("\n", "\n    ")
    return f"{head} {{\n    {body}\n}}"
