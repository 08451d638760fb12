"""nginx's cases: the line that is blamed is the one that did what the CA saw, in the file in which it stands."""

import shutil
from pathlib import Path

import pytest

from certagent.domain.rehearsals import Hop
from certagent.vantage.web_server_config import WebServerConfigs
from tests.evidence import GOOD, OWN, conclude_by_code, make_evidence, make_hop
from tests.field.tree import CASES, Tree

WIKI = "wiki.home.test"


def _blamed(case: str, tmp_path: Path, name: str, *hops: Hop) -> list[tuple[str, str | None, int | None]]:
    """Code, file and line of what is concluded, when the CA saw that at 10.0.0.12."""
    root = tmp_path / "etc" / "nginx"
    shutil.copytree(CASES / case / "root" / "etc" / "nginx", root)
    for path in (path for path in root.rglob("*") if path.is_file()):
        path.write_text(path.read_text().replace("/etc/nginx/", f"{root}/"))
    observations = WebServerConfigs(root / "nginx.conf", ()).observe(name, OWN)
    found = conclude_by_code(make_evidence(GOOD, *hops, gateways=observations)).values()
    culprits = [(one.code, one.culprit) for one in found if one.culprit is not None]
    return [
        (code, culprit.file.removeprefix(f"{root}/") if culprit.file else None, culprit.line)
        for code, culprit in culprits
        if code.startswith(("http01.", "net."))
    ]


@pytest.mark.parametrize(
    ("case", "name", "status", "expected"),
    [
        ("06-nginx-named-capture", "wiki.apps.home.test", 502, ("conf.d/10-apps.conf", 4)),
        ("07-nginx-status-loopback", WIKI, 502, ("conf.d/10-site.conf", 3)),
        ("38-dotfile-regex", WIKI, 403, ("conf.d/a.conf", 5)),
        ("39-caret-root", WIKI, 404, ("conf.d/a.conf", 4)),
        ("41-listen-addr-name", WIKI, 503, ("conf.d/a.conf", 4)),
        ("45-listen-specific", WIKI, 503, ("conf.d/a.conf", 9)),
        ("58-culprit-after-include", WIKI, 403, ("sites-enabled/wiki", 5)),
        ("60-snippet-is-right", WIKI, 404, (None, None)),
        ("60-snippet-is-right", WIKI, 301, (None, None)),
        ("37-server-level-return", WIKI, 502, (None, None)),
        ("06-nginx-named-capture", "other.home.test", 502, (None, None)),
    ],
)
def test_the_culprit_explains_the_status(
    tmp_path: Path, case: str, name: str, status: int, expected: tuple[str | None, int | None]
) -> None:
    """By the address that was connected to; where no line can have answered so, none is blamed."""
    blamed = _blamed(case, tmp_path, name, make_hop(OWN, status))
    assert blamed
    assert {(file, line) for _, file, line in blamed} == {expected}


def test_a_return_at_the_server_comes_before_the_snippet(tmp_path: Path) -> None:
    """Case 37: the CA saw a redirect, and nobody behind it."""
    hops = (make_hop(OWN, 301, location=f"https://{WIKI}/"), make_hop(OWN, error="refused", port=443))
    blamed = _blamed("37-server-level-return", tmp_path, WIKI, *hops)
    assert {(file, line) for _, file, line in blamed} == {("conf.d/a.conf", 5)}


@pytest.mark.slow
def test_places_after_an_include_are_right(tmp_path: Path) -> None:
    """Case 44: `lint` names the lines in their own files."""
    document = Tree.of_case("44-place-after-include", tmp_path).document("lint")
    dangling = [one["culprit"] for one in document["findings"] if one["code"] == "deploy.dangling_reference"]
    assert sorted((one["file"], one["line"]) for one in dangling) == [
        ("/etc/nginx/nginx.conf", 8),
        ("/etc/nginx/nginx.conf", 9),
        ("/etc/nginx/sites-enabled/wiki", 5),
        ("/etc/nginx/sites-enabled/wiki", 6),
    ]


@pytest.mark.parametrize(
    ("listen", "seen", "line"),
    [
        ("listen 80 proxy_protocol;", {"error": "reset"}, 4),
        ("listen [::]:80;", {"error": "refused"}, 4),
        ("listen 80;", {"error": "refused"}, None),
        ("listen 80;", {"error": "reset"}, None),
        ("listen 80 proxy_protocol;", {"error": "timeout"}, None),
    ],
)
def test_a_connection_that_fails_is_explained_by_its_listen_line(
    tmp_path: Path, listen: str, seen: dict[str, object], line: int | None
) -> None:
    """A header that no CA sends, an address of the other family; and nothing else."""
    path = tmp_path / "nginx.conf"
    path.write_text(f"events {{}}\nhttp {{\nserver {{\n{listen}\nlocation / {{ proxy_pass http://a; }}\n}}\n}}\n")
    observations = WebServerConfigs(path, ()).observe(WIKI, OWN)
    found = conclude_by_code(make_evidence(GOOD, make_hop(OWN, **seen), gateways=observations))  # type: ignore[arg-type]
    culprit = found[f"net.{seen['error']}"].culprit
    assert culprit is not None
    assert culprit.line == line
