"""A directive's file and line are those that nginx itself names; what is no configuration costs no more than itself."""

import re
from pathlib import Path

import pytest

from certagent.domain.observations import Unreadable
from certagent.domain.web_servers.nginx_syntax import Directive, walk
from certagent.vantage.nginx_config import read_nginx
from tests.nginx.real_nginx import complaint, write

# What nginx does not know, in every place where a reader may lose count; it stops at the first, and names it.
FILES = {
    "nginx.conf": """events {}
probe_a;
http {
    include types.conf; probe_b;
    include sites/*.conf;
    probe_c;
    log_format x 'two
        lines $host "and" a \\' quote'; probe_d;
    server { # a comment with { and " in it
        probe_e;
        add_header X-A "a \\" b
{ } ; # no comment"; probe_f;
        include snippets/inner.conf;
        probe_g;
        location ~ "^/a{2}/(?<rest>.*)\\.$" { probe_h; }
        location /x#y { set $a "${host}x"; probe_i; }
        set $b a${host}b}c;
        probe_j
            ;
        rewrite ^/(\\{|\\;)$ /x; probe_k;
    }
    map $host $c { default ""; 'a b' 1; "~^x{1,2}$" 2; } probe_l;
}
probe_m;
""",
    "types.conf": "types {\n    text/html html;\n}\nprobe_n;\n",
    "sites/a.conf": "server {\r\n    listen 81;\r\n    include snippets/inner.conf;\r\n    probe_o;\r\n}\r\n",
    "sites/b.conf": "server {\n\n\tlisten 82;\n  probe_p; probe_q;}\n# probe_not;\nserver { probe_r; }",
    "sites/.hidden.conf": "probe_hidden;\n",
    "snippets/inner.conf": "# one\n\nprobe_s;\n",
}


def test_each_place_is_the_one_that_nginx_names(tmp_path: Path) -> None:
    """Probe by probe: nginx stops at the first unknown directive, which is then made a comment."""
    path = write(tmp_path / "nginx", FILES)
    compared = 0
    while probes := _probes(path):
        first = probes[0]
        said = complaint(path)
        match = re.search(r'unknown directive "(\w+)" in (\S+):(\d+)', said)
        assert match is not None, said
        name, file, line = match.groups()
        line = str(int(line) - (name == "probe_j"))  # which ends a line later, where nginx counts
        assert (first.name, first.place.file, str(first.place.line)) == (name, file, line)
        text = Path(file).read_bytes()
        Path(file).write_bytes(re.sub(rf"\b{name}(\s*);".encode(), rb"\1", text))
        compared += 1
    assert compared == 19
    assert "syntax is ok" in complaint(path) or "test is successful" in complaint(path)


def _probes(path: Path) -> list[Directive]:
    return [one for one in walk(read_nginx(path).value) if one.name.startswith("probe_")]


@pytest.mark.parametrize(
    ("text", "line", "reason", "kept"),
    [
        ("a 1;\nb {\n c 2;\n", 3, 'it ends where "}" is expected', ["a", "b", "c"]),
        ("a 1;\nb 2", 2, 'it ends where ";" is expected', ["a"]),
        ("a 1;\n}\nb 2;\n", 2, 'a "}" has no "{"', ["a", "b"]),
        ("a 1;\nb 'x;\nc 2;\n", 2, "a quote is not closed", ["a"]),
        ("a 1;\n;\nb 2;\n", 2, 'a ";" has no directive', ["a", "b"]),
        ("a {" * 40 + "}" * 40, 1, "it is nested too deeply", ["a"] * 33),
        ("a 1;\nx_by_lua_block {\n '}' -- }\n", 2, 'a "{" is not closed', ["a", "x_by_lua_block"]),
    ],
)
def test_half_a_file_is_read_as_far_as_it_goes(
    tmp_path: Path, text: str, line: int, reason: str, kept: list[str]
) -> None:
    """It is noted with its line, and the rest of the tree is read."""
    files = {"nginx.conf": "first;\ninclude torn.conf;\nlast;\n", "torn.conf": text}
    path = write(tmp_path / "nginx", files)
    reading = read_nginx(path)
    assert reading.unreadable == (Unreadable(file=str(path.parent / "torn.conf"), line=line, reason=reason),)
    assert [one.name for one in walk(reading.value)] == ["first", *kept, "last"]


def test_words_are_nginx_s_words(tmp_path: Path) -> None:
    """Escapes, quotes, another language's blocks, a byte order mark; a no-break space ends no word."""
    text = "\ufeffa \"x\\\"y\\n\\\\.\\d\" 'it''s' b\\ c;\ncontent_by_lua_block { say('}') --[[ } ]] }\nd 1\u00a02;\n"
    reading = read_nginx(write(tmp_path / "nginx", {"nginx.conf": text}))
    assert [(one.name, one.args) for one in reading.value] == [
        ("a", ('x"y\n\\.\\d', "it", "s", "b\\ c")),
        ("content_by_lua_block", ()),
        ("d", ("1\u00a02",)),
    ]


def test_includes_are_bounded(tmp_path: Path) -> None:
    """A loop is noted at its line; a file that doubles itself ends; a pipe and a folder hold nobody up."""
    files = {
        "nginx.conf": "a;\ninclude nginx.conf;\ninclude deep-0;\ninclude gone;\ninclude links/*;\ninclude empty;\n"
    }
    files |= {f"deep-{number}": f"b {{ include deep-{number + 1}; }}\n" * 8 for number in range(10)}
    path = write(tmp_path / "nginx", {**files, "deep-10": "c;\n"})
    (path.parent / "links").mkdir()
    (path.parent / "links" / "dead").symlink_to("nowhere")
    reading = read_nginx(path)
    noted = [(Path(one.file).name, one.line, one.reason) for one in reading.unreadable]
    assert noted[0] == ("nginx.conf", 2, "an include leads back to its own file")
    assert noted[-1] == ("empty", None, "it is a folder")
    assert {one[2] for one in noted[1:-1]} == {"it includes more directives than certagent supports"}
    left = [(one.args, one.place.file, one.place.line) for one in reading.value if one.name == "include"]
    dead = str(path.parent / "links" / "dead")
    assert left == [((str(path.parent / "gone"),), str(path), 4), ((dead,), dead, None)]


def test_a_folder_in_the_place_of_the_configuration_is_noted(tmp_path: Path) -> None:
    """One that is not there is no mistake."""
    assert read_nginx(tmp_path / "none").unreadable == ()
    assert read_nginx(tmp_path).unreadable == (Unreadable(file=str(tmp_path), reason="it is a folder"),)
