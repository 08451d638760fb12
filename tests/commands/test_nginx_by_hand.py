"""What has to be edited by hand in nginx's files: what answers before any location, and what does not."""

from pathlib import Path

import pytest

from certagent.commands.nginx_by_hand import steps_for
from certagent.vantage.nginx_config import read_nginx

SPARED = 'if ($request_uri !~ "/.well-known/acme-challenge/") { set $F D; }\nif ($F = D) { return 301 https://$host; }'


def _steps(folder: Path, servers: str, *names: str) -> list[str]:
    (folder / "nginx.conf").write_text(f"http {{\n{servers}\n}}\n")
    return steps_for(read_nginx(folder / "nginx.conf").value, names or ("a.test",), "x.conf")


@pytest.mark.parametrize(
    ("lines", "obstacles"),
    [
        ("return 301 https://$host$request_uri;", ["3: `return 301 https://$host$request_uri` answers"]),
        (
            "if ($host = a.test) {\nreturn 301 https://a.test;\n}",
            ["3: `return 301 https://a.test` (line 4) in"],
        ),
        ("if ($scheme = http) {\nrewrite ^ https://a.test permanent;\n}", ["3: `rewrite ^ https://a.test permanent`"]),
        (
            "rewrite ^/(.*)$ https://a.test/$1 permanent;",
            ["3: `rewrite ^/(.*)$ https://a.test/$1 permanent` is"],
        ),
        ("rewrite ^/old https://a.test/new permanent;", []),
        ("location / { return 301 https://$host$request_uri; }", []),
        ("if ($host = a.test) { set $x 1; }", []),
        (SPARED, []),
    ],
)
def test_what_answers_before_any_location_is_named(tmp_path: Path, lines: str, obstacles: list[str]) -> None:
    """With its line; what spares the challenge, or is in a location, is not."""
    steps = _steps(tmp_path, f"server {{ listen 80; server_name a.test;\n{lines}\n}}")
    place = f"{tmp_path}/nginx.conf:2"
    assert steps[0].startswith(f"in nginx's port-80 `server` of a.test ({place}): include snippets/x.conf;")
    assert len(steps) - 1 == len(obstacles)
    for step, obstacle in zip(steps[1:], obstacles, strict=True):
        assert step.startswith(f"{tmp_path}/nginx.conf:{obstacle}")
        assert "the snippet alone changes nothing" in step


def test_the_server_that_answers_for_the_name_is_looked_at(tmp_path: Path) -> None:
    """Its own, else one by wildcard, else the default one; no other."""
    own = "server { listen 80; server_name a.test; location / { } }\n"
    wild = "server { listen 80; server_name *.test; return 410; }\n"
    default = "server { listen 80 default_server; server_name _; return 404; }\n"
    assert len(_steps(tmp_path, own + wild + default)) == 1
    assert ":3: `return 410`" in _steps(tmp_path, own + wild + default, "b.test")[1]
    assert ":4: `return 404`" in _steps(tmp_path, own + wild + default, "b.example")[1]


def test_no_port_80_at_all_is_said(tmp_path: Path) -> None:
    """Nothing can be included there."""
    steps = _steps(tmp_path, "server { listen 443 ssl; server_name a.test; }")
    assert steps[0] == "nginx does not listen on port 80: add a `server` there for a.test"
    assert steps_for((), (), "x.conf") == []
