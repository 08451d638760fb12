"""The field's cases of `certagent init`, and of what agent.toml may say: what is written loads, and nothing is lost."""

import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from certagent.config import ConfigurationError, load_agent
from tests.certificates import Authority
from tests.field.tree import CASES, Tree

pytestmark = pytest.mark.slow

GOOD_NAMES = ("wiki.home.test", "WIKI.home.test", "10.0.0.5", "xn--mll-hoa.home.test")
SETTINGS = """[agent]
name = "lxc102"
[authority]
directory = "https://ca.home.test:9000/acme/acme/directory"
root = "{root}"
[[certificate]]
name = "a"
identifiers = ["home.test", "{identifier}"]
solver = {{ kind = "listener", listen = "127.0.0.1:5002" }}
"""


def _identifiers() -> list[str]:
    return (CASES / "32-config-identifiers" / "identifiers.txt").read_text().splitlines()


@pytest.mark.parametrize("identifier", _identifiers())
def test_32_what_is_no_identifier_is_refused_with_its_key(tmp_path: Path, identifier: str) -> None:
    """In one sentence that shows it; the last four are good."""
    Authority().write_root(tmp_path / "root.crt")
    (tmp_path / "agent.toml").write_text(SETTINGS.format(root=tmp_path / "root.crt", identifier=identifier))
    if identifier in GOOD_NAMES:
        assert load_agent(tmp_path / "agent.toml").certificate[0].identifiers[1] == identifier
        return
    with pytest.raises(ConfigurationError) as refused:
        load_agent(tmp_path / "agent.toml")
    assert str(refused.value).startswith(f"{tmp_path}/agent.toml:8: certificate[0].identifiers: {identifier!r} ")


def test_32_the_last_four_are_the_good_ones() -> None:
    """As the story says."""
    assert tuple(_identifiers()[-4:]) == GOOD_NAMES


def test_32_a_refused_configuration_is_exit_status_2(tmp_path: Path) -> None:
    """Of the agent itself."""
    tree = Tree(tmp_path)
    folder = tmp_path / "etc" / "certagent"
    folder.mkdir(parents=True)
    Authority().write_root(folder / "root_ca.crt")
    text = SETTINGS.format(root="/etc/certagent/root_ca.crt", identifier="wiki.home.test:8443")
    (folder / "agent.toml").write_text(text)
    done = tree.certagent("agent", "--config", "/etc/certagent/agent.toml")
    assert (done.returncode, "certificate[0].identifiers: 'wiki.home.test:8443'" in done.stderr) == (2, True)


def test_35_a_watched_wildcard_is_accepted(tmp_path: Path) -> None:
    """It is proven by dns-01, whatever is not said; refused only where certagent is to renew it otherwise."""
    text = (CASES / "35-watch-wildcard" / "agent.toml").read_text()
    Authority().write_root(tmp_path / "root.crt")
    text = text.replace("/etc/certagent/root_ca.crt", str(tmp_path / "root.crt"))
    (tmp_path / "agent.toml").write_text(text)
    (watched,) = load_agent(tmp_path / "agent.toml").certificate
    assert (watched.manage, watched.challenge, watched.identifiers) == (False, "dns-01", ("*.home.test", "home.test"))
    solver = 'manage = true\nsolver = { kind = "listener", listen = "127.0.0.1:5002" }'
    (tmp_path / "agent.toml").write_text(text.replace("manage = false", solver))
    with pytest.raises(ConfigurationError, match="a wildcard, which only dns-01 can prove"):
        load_agent(tmp_path / "agent.toml")


DIRECTORY = "https://ca.home.test:9000/acme/acme/directory"


def _initialised(case: str, folder: Path) -> tuple[Tree, Any]:
    """The tree after `certagent init --write`, and its document."""
    tree = Tree.of_case(case, folder)
    (folder / "etc" / "certagent").mkdir(parents=True)
    Authority().write_root(folder / "etc" / "certagent" / "root_ca.crt")
    document = tree.document("init", "--directory", DIRECTORY, "--write")
    assert document["changes"][0]["done"], document
    _assert_it_loads(tree)
    return tree, document


def _assert_it_loads(tree: Tree) -> None:
    """The agent's own loader takes what was written, in the tree."""
    load = "from certagent.config import *; load_agent(DEFAULT_AGENT_PATH)"
    done = tree.run([sys.executable, "-c", load])
    assert done.returncode == 0, done.stderr


def _written(tree: Tree) -> dict[str, dict[str, Any]]:
    """The certificates of agent.toml, by the file that their service reads."""
    document = tomllib.loads((tree.root / "etc" / "certagent" / "agent.toml").read_text())
    return {one["deploy"][0]["certificate"]: one for one in document.get("certificate", [])}


def _facts(written: dict[str, Any]) -> tuple[bool, str, set[str], list[str]]:
    challenge = written.get("challenge", "http-01")
    return written["manage"], challenge, set(written["identifiers"]), written["deploy"][0]["prove"]


def test_04_every_form_of_pair_is_written_or_left_out_with_its_reason(tmp_path: Path) -> None:
    """RSA beside ECDSA, one of the block around, one in `stream`; a variable and `data:` are no paths."""
    tree, document = _initialised("04-nginx-cert-forms", tmp_path)
    written = _written(tree)
    assert {Path(file).name: _facts(one) for file, one in written.items()} == {
        "ec.crt": (True, "http-01", {"dual.home.test"}, ["127.0.0.1:443"]),
        "rsa.crt": (True, "http-01", {"dual.home.test"}, ["127.0.0.1:443"]),
        "wild.crt": (False, "dns-01", {"grafana.home.test", "home.test", "*.home.test"}, ["127.0.0.1:443"]),
        "mq.crt": (True, "http-01", {"mq.home.test"}, ["127.0.0.1:8883"]),
    }
    assert written["/etc/nginx/ssl/rsa.crt"]["key"] == "rsa-2048"
    assert "key" not in written["/etc/nginx/ssl/ec.crt"]
    variable, data = document["skipped"]
    assert variable.startswith("/etc/nginx/ssl/$ssl_server_name.crt for app.home.test (")
    assert "(/etc/nginx/conf.d/20-vars.conf:4): it contains a variable" in variable
    assert data.startswith("data:$pem_c for vault.home.test (/etc/nginx/conf.d/30-data.conf:6)")


@pytest.mark.parametrize(("case", "last"), [("05-certbot-nginx", 19), ("08-certbot-plus-snippet", 20)])
def test_05_08_certbots_pair_is_watched_and_what_answers_first_is_named(case: str, last: int, tmp_path: Path) -> None:
    """With both names; certbot's `if` blocks come before any location."""
    tree, document = _initialised(case, tmp_path)
    (written,) = _written(tree).values()
    assert _facts(written) == (False, "http-01", {"www.home.test", "home.test"}, ["127.0.0.1:443"])
    live = "/etc/letsencrypt/live"
    assert f"certbot renews {live}/www.home.test/fullchain.pem (see {live})" in document["found"]
    assert "manage = false                                 # certbot renews it" in document["configuration"]
    assert any("stop certbot's own renewals" in step for step in document["by_hand"])
    steps = [step for step in document["by_hand"] if "answers before any location" in step]
    places = [step.partition(": ")[0] for step in steps]
    assert places == [f"/etc/nginx/sites-enabled/www:{line}" for line in (11, 14, last)]
    assert "return 404" in steps[2]
    assert any("include snippets/" in step for step in document["by_hand"]) == case.startswith("05")
    assert "move that return into a `location / { ... }`" in steps[2]
    assert all("the snippet alone changes nothing" in step for step in steps)


def test_30_nginx_proxy_managers_pair_is_watched(tmp_path: Path) -> None:
    """Without a renewal file to be seen; its redirect spares the challenge, and is not blamed."""
    tree, document = _initialised("30-npm-layout", tmp_path)
    (written,) = _written(tree).values()
    assert _facts(written) == (False, "http-01", {"cloud.home.test"}, ["127.0.0.1:443"])
    assert "# Nginx Proxy Manager renews it: watched only" in document["configuration"]
    assert not any("answers before any location" in step for step in document["by_hand"])


def test_49_no_name_is_lost_and_each_is_proven_where_it_listens(tmp_path: Path) -> None:
    """A name of one label is left out with the reason; the certificate there has the whole one."""
    tree, document = _initialised("49-init-names", tmp_path)
    assert {Path(file).name: _facts(one) for file, one in _written(tree).items()} == {
        "w.crt": (False, "dns-01", {"*.home.test", "home.test"}, ["127.0.0.1:443"]),
        "n.crt": (True, "http-01", {"nas.home.test"}, ["127.0.0.1:8443"]),
        "g.crt": (True, "http-01", {"git.home.test", "code.home.test"}, ["127.0.0.1:443"]),
    }
    assert document["skipped"] == ["nginx-2: server_name nas has no domain, so the CA cannot look it up"]


def test_50_nothing_is_made_up(tmp_path: Path) -> None:
    """Labels are Docker's."""
    tree, document = _initialised("50-docker-labels-only", tmp_path)
    assert (document["found"], document["skipped"], _written(tree)) == ([], [], {})


def test_69_the_return_is_named_with_where_it_has_to_go(tmp_path: Path) -> None:
    """Including the snippet alone changes nothing."""
    tree, document = _initialised("69-return-in-a-plain-server", tmp_path)
    (written,) = _written(tree).values()
    assert _facts(written) == (True, "http-01", {"wiki.home.test"}, ["127.0.0.1:443"])
    (step,) = [step for step in document["by_hand"] if "answers before" in step]
    assert step == (
        "/etc/nginx/conf.d/a.conf:4: `return 301 https://$host$request_uri` answers before any location, so the snippet"
        " alone changes nothing: move that return into a `location / { ... }` of the same server"
    )


def _tree_of(folder: Path, files: dict[str, str]) -> Tree:
    for name, content in {"etc/nginx/nginx.conf": "http { include conf.d/*.conf; }\n", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / "etc" / "certagent").mkdir(parents=True, exist_ok=True)
    Authority().write_root(folder / "etc" / "certagent" / "root_ca.crt")
    return Tree(folder)


SERVER = "server {{ listen 443 ssl; server_name a.home.test; ssl_certificate {0}.crt; ssl_certificate_key {0}.key; }}\n"


@pytest.mark.parametrize(
    ("files", "owner", "evidence"),
    [
        (
            {"home/x/.acme.sh/a/a.conf": "Le_Domain='a'\nLe_RealFullChainPath='/etc/nginx/ssl/a.crt'\n"},
            *("acme.sh", "/home/x/.acme.sh/a/a.conf"),
        ),
        (
            {"etc/letsencrypt/renewal-hooks/deploy/copy.sh": "cp live/a/fullchain.pem /etc/nginx/ssl/a.crt\n"},
            *("certbot", "/etc/letsencrypt/renewal-hooks/deploy/copy.sh"),
        ),
        (
            {"etc/systemd/system/a.service": "[Service]\nExecStart=step ca renew -f /etc/nginx/ssl/a.crt x\n"},
            *("step ca renew", "/etc/systemd/system/a.service"),
        ),
        (
            {"etc/cron.d/lego": "0 3 * * * root lego renew --renew-hook 'cp a.crt /etc/nginx/ssl/a.crt'\n"},
            *("lego", "/etc/cron.d/lego"),
        ),
        (
            {"etc/cron.d/other": "0 3 * * * root tar cf /backup.tar /etc/nginx/ssl/a.crt; certbot-exporter\n"},
            *(None, None),
        ),
        ({"etc/cron.d/other": "0 3 * * * root certbot renew --cert /etc/nginx/ssl/a.crt.old\n"}, None, None),
    ],
)
def test_an_installed_copy_is_its_clients(
    tmp_path: Path, files: dict[str, str], owner: str | None, evidence: str | None
) -> None:
    """By the client's own record of it, by its hooks, units and crontabs; not by a word that is only like it."""
    tree = _tree_of(tmp_path, {"etc/nginx/conf.d/a.conf": SERVER.format("/etc/nginx/ssl/a"), **files})
    document = tree.document("init", "--directory", DIRECTORY, "--write")
    _assert_it_loads(tree)
    (written,) = _written(tree).values()
    assert written["manage"] is (owner is None)
    said = [found for found in document["found"] if "renews" in found]
    assert said == ([f"{owner} renews /etc/nginx/ssl/a.crt (see {evidence})"] if owner else [])


@pytest.mark.parametrize("is_link", [True, False])
def test_a_link_to_a_live_pair_and_a_copy_of_it_are_its_clients(tmp_path: Path, is_link: bool) -> None:
    """By the link's end; by the certificate itself."""
    tree = _tree_of(tmp_path, {"etc/nginx/conf.d/a.conf": SERVER.format("/etc/nginx/ssl/a")})
    live, ssl = tmp_path / "etc/letsencrypt/live/a", tmp_path / "etc/nginx/ssl"
    pair = Authority().issue("a.home.test")
    for folder in (live, ssl):
        folder.mkdir(parents=True)
    (live / "fullchain.pem").write_bytes(pair.chain_pem)
    if is_link:
        (ssl / "a.crt").symlink_to("/etc/letsencrypt/live/a/fullchain.pem")
    else:
        (ssl / "a.crt").write_bytes(pair.chain_pem)
    document = tree.document("init", "--directory", DIRECTORY, "--write")
    (written,) = _written(tree).values()
    assert written["manage"] is False
    evidence = "/etc/letsencrypt/live" if is_link else "/etc/letsencrypt/live/a/fullchain.pem"
    assert f"certbot renews /etc/nginx/ssl/a.crt (see {evidence})" in document["found"]


def test_what_the_agent_would_refuse_is_left_out_and_the_rest_is_written(tmp_path: Path) -> None:
    """A pair that names nobody; one file for both is only watched; a hostile name stays in its comment."""
    one_file = "server { listen 443 ssl; server_name b.home.test; ssl_certificate b.pem; ssl_certificate_key b.pem; }\n"
    nameless = "server { listen 443 ssl; server_name _ ~^x$; ssl_certificate c.crt; ssl_certificate_key c.key; }\n"
    hostile = (
        'server { listen 443 ssl; server_name d.home.test "x\n[[certificate]]"; ssl_certificate "d\n.crt";'
        " ssl_certificate_key d.key; }\n"
    )
    text = SERVER.format("a") + one_file + nameless + hostile
    tree = _tree_of(tmp_path, {"etc/nginx/conf.d/a.conf": text})
    document = tree.document("init", "--directory", DIRECTORY, "--write")
    _assert_it_loads(tree)
    written = _written(tree)
    assert {file: one["manage"] for file, one in written.items()} == {
        "/etc/nginx/a.crt": True,
        "/etc/nginx/b.pem": False,
    }
    assert any("c.crt" in said and "identifiers: is empty" in said for said in document["skipped"])
    assert any("it is a template, or damaged" in said for said in document["skipped"])


def test_a_directory_that_is_no_url_is_a_mistake_of_the_command_line(tmp_path: Path) -> None:
    """Nothing is written that the agent would refuse."""
    tree = _tree_of(tmp_path, {})
    done = tree.certagent("init", "--directory", "http://ca.home.test/", "--write")
    assert (done.returncode, "authority.directory: must be an https URL" in done.stderr) == (2, True)
    assert not (tmp_path / "etc" / "certagent" / "agent.toml").exists()
