"""Other clients' renewals, imported: what can be read is watched, what cannot is named, and no key is shown."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from certagent.config import load_agent
from tests.certificates import Authority
from tests.field.tree import CASES, Tree

pytestmark = pytest.mark.slow


def _init(tree: Tree, path: str) -> dict[str, Any]:
    document: dict[str, Any] = tree.document("init", "--import", path)
    return document


def _not_imported(document: dict[str, Any]) -> list[str]:
    return [step for step in (*document["by_hand"], *document.get("skipped", ())) if step.startswith("not imported: ")]


def _certificates(tree: Tree, document: dict[str, Any]) -> list[tuple[str, tuple[str, ...], bool, str]]:
    """Name, identifiers, whether it is managed, challenge: as the agent's own loader reads what `init` would write."""
    file = tree.root / "agent.toml"
    root = Authority().write_root(tree.root / "root.crt")
    file.write_text(document["configuration"].replace("/etc/certagent/root_ca.crt", str(root)))
    loaded = load_agent(file).certificate
    return [(one.name, one.identifiers, one.manage, one.challenge) for one in loaded]


def test_lego_5_writes_all_domains(tmp_path: Path) -> None:
    """Case 01: both names, watched."""
    tree = Tree.of_case("01-lego-domains-json", tmp_path)
    document = _init(tree, "/opt/lego")
    names = ("wiki.home.test", "docs.home.test")
    assert _certificates(tree, document) == [("wiki.home.test", names, False, "http-01")]
    assert _not_imported(document) == []


def test_one_renewal_of_certbots_is_empty(tmp_path: Path) -> None:
    """Case 02: the two others are imported, and the empty one is named."""
    tree = Tree.of_case("02-certbot-one-broken", tmp_path)
    document = _init(tree, "/etc/letsencrypt")
    assert [certificate[0] for certificate in _certificates(tree, document)] == ["a.home.test", "b.home.test"]
    (skipped,) = _not_imported(document)
    file = "/etc/letsencrypt/renewal/old.home.test.conf"
    assert skipped == f"not imported: {file}: it is not a certbot renewal: it has no fullchain"


def test_certbots_hooks_are_shown(tmp_path: Path) -> None:
    """Case 03: the one of this renewal where a command would stand, those around it where it was found."""
    document = _init(Tree.of_case("03-certbot-hooks", tmp_path), "/etc/letsencrypt")
    assert "# \"sh -c 'systemctl reload postfix, dovecot'\" needs a shell" in document["configuration"]
    assert document["found"] == [
        "certbot renews /etc/letsencrypt/live/mail.home.test/fullchain.pem; it also runs pre_hook: systemctl stop"
        " nginx, post_hook: systemctl start nginx, /etc/letsencrypt/renewal-hooks/deploy/10-mail.sh"
    ]


def test_acme_shs_tree_is_watched(tmp_path: Path) -> None:
    """Case 62: both names, the pair where it was installed, and the reload command."""
    tree = Tree.of_case("62-import-acme-sh", tmp_path)
    document = _init(tree, "/opt/acme.sh")
    names = ("wiki.home.test", "docs.home.test")
    assert _certificates(tree, document) == [("wiki.home.test", names, False, "http-01")]
    assert 'certificate = "/etc/nginx/ssl/wiki.crt"\nkey = "/etc/nginx/ssl/wiki.key"\n' in document["configuration"]
    assert 'command = ["systemctl", "reload", "nginx"]' in document["configuration"]


@pytest.mark.parametrize("name", ["missing", "sans-string", "trailing-comma", "int-mode"])
def test_a_list_with_a_mistake_is_one_sentence(tmp_path: Path, name: str) -> None:
    """Case 33."""
    tree = Tree(tmp_path / "root")
    (tree.root / "lists").mkdir(parents=True)
    content = (CASES / f"33-import-lists/lists/{name}.json").read_text()
    (tree.root / "lists" / f"{name}.json").write_text(content)
    done = tree.certagent("init", "--import", f"/lists/{name}.json")
    assert (done.returncode, done.stdout, done.stderr.count("Error: ")) == (2, "", 1), done.stderr
    assert f"/lists/{name}.json" in done.stderr
    assert "Traceback" not in done.stderr


def _coded(text: str) -> str:
    return f"__ACME_BASE64__START_{base64.b64encode(text.encode()).decode()}__ACME_BASE64__END_"


def test_acme_sh_in_all_its_forms(tmp_path: Path) -> None:
    """RSA beside ECDSA, a wildcard by DNS, TLS-ALPN, never installed, hooks, and one file that is half saved."""
    tree = Tree(tmp_path / "root")
    domains = {
        "a.home.test": "Le_Domain='a.home.test'\nLe_Alt='no'\nLe_Webroot='no'\n",
        "a.home.test_ecc": "Le_Domain='a.home.test'\nLe_Alt='no'\nLe_Webroot='alpn'\n",
        "*.home.test_ecc": "Le_Domain='*.home.test'\nLe_Alt='home.test'\nLe_Webroot='dns_nsupdate'\n"
        f"Le_PreHook='{_coded('systemctl stop x')}'\nLe_ReloadCmd='{_coded('cat a b > c && reload')}'\n",
        "b.home.test_ecc": "Le_Doma",
        "c.home.test_ecc": "Le_Domain=c.home.test\nLe_ReloadCmd='__ACME_BASE64__START_abc__ACME_BASE64__END_'\n",
    }
    for name, content in domains.items():
        folder = tree.root / "opt/acme.sh" / name
        folder.mkdir(parents=True)
        (folder / f"{name.removesuffix('_ecc')}.conf").write_text(content)
    (tree.root / "opt/acme.sh/account.conf").write_text("UPGRADE_HASH='x'\n")
    document = _init(tree, "/opt/acme.sh")
    assert _certificates(tree, document) == [
        ("wildcard.home.test", ("*.home.test", "home.test"), False, "dns-01"),
        ("a.home.test", ("a.home.test",), False, "http-01"),
        ("a.home.test-2", ("a.home.test",), False, "tls-alpn-01"),
        ("c.home.test", ("c.home.test",), False, "http-01"),
    ]
    assert '"cat a b > c && reload" needs a shell' in document["configuration"]
    assert (
        "acme.sh renews /opt/acme.sh/*.home.test_ecc/fullchain.cer; it also runs PreHook: systemctl stop x"
        in (document["found"])
    )
    (skipped,) = _not_imported(document)
    assert skipped == (
        "not imported: /opt/acme.sh/b.home.test_ecc/b.home.test.conf: it is not an acme.sh domain: it has no Le_Domain"
    )


def _entry(*names: str, has_domain: bool = True) -> dict[str, Any]:
    pair = Authority().issue(*names)
    return {
        "domain": {"main": names[0], "sans": list(names[1:])} if has_domain else None,
        "certificate": base64.b64encode(pair.chain_pem).decode(),
        "key": base64.b64encode(pair.key_pem).decode(),
        "Store": "default",
    }


def _capitals(entry: dict[str, Any]) -> dict[str, Any]:
    domain = {"Main": entry["domain"]["main"], "SANs": None}
    return {"Domain": domain, "Certificate": entry["certificate"], "Key": entry["key"]}


def _of_1_0(entry: dict[str, Any]) -> dict[str, Any]:
    kept = {"Domain": entry["domain"]["main"], "PrivateKey": entry["key"], "Certificate": entry["certificate"]}
    return {"Domains": {"Main": entry["domain"]["main"], "SANs": None}, "Certificate": kept}


WIKI, BOTH, HIDDEN = (
    _entry("wiki.home.test"),
    _entry("*.home.test", "home.test"),
    _entry("git.home.test", has_domain=False),
)


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        (
            {
                "own": {"Account": {"PrivateKey": "c2VjcmV0"}, "Certificates": [WIKI, BOTH]},
                "other": {"Account": None, "Certificates": [HIDDEN, None, {"domain": 3, "certificate": "%"}]},
                "fresh": {"Account": {}, "Certificates": None},
            },
            [
                ("wiki.home.test", ("wiki.home.test",), False, "http-01"),
                ("wildcard.home.test", ("*.home.test", "home.test"), False, "dns-01"),
                ("git.home.test", ("git.home.test",), False, "http-01"),
            ],
        ),
        (
            {"Account": {}, "Certificates": [_capitals(WIKI)], "HTTPChallenges": {}},
            [("wiki.home.test", ("wiki.home.test",), False, "http-01")],
        ),
        (
            {"Email": "a@home.test", "DomainsCertificate": {"Certs": [_of_1_0(WIKI)]}},
            [("wiki.home.test", ("wiki.home.test",), False, "http-01")],
        ),
    ],
)
@pytest.mark.parametrize("path", ["/etc/traefik/acme.json", "/etc/traefik"])
def test_traefiks_store_is_watched(tmp_path: Path, store: dict[str, Any], expected: list[Any], path: str) -> None:
    """Of every version, given as the file or by its folder. No key is shown; what has no name is counted."""
    tree = Tree(tmp_path / "root")
    (tree.root / "etc/traefik").mkdir(parents=True)
    (tree.root / "etc/traefik/acme.json").write_text(json.dumps(store))
    document = _init(tree, path)
    assert _certificates(tree, document) == expected
    shown = json.dumps(document)
    assert not any(entry["key"] in shown for entry in (WIKI, BOTH, HIDDEN))
    assert "c2VjcmV0" not in shown
    assert bool(_not_imported(document)) == ("other" in store)
    assert "Traefik renews /etc/traefik/acme.json" in document["found"]


def test_whatever_lies_in_a_folder_the_rest_is_imported(tmp_path: Path) -> None:
    """A pipe, a folder, nonsense and depth beside one that is good."""
    tree = Tree(tmp_path / "root")
    folder = tree.root / "opt/lego/certificates"
    (folder / "folder.json").mkdir(parents=True)
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "half.json").write_text('{"domain": "x')
    (folder / "other.json").write_text('[1, {"domain": null}]')
    (folder / "bytes.json").write_bytes(b"\xff\x00")
    (folder / "zero.json").symlink_to("/dev/zero")
    (folder / "good.json").write_text('{"domain": "good.home.test"}')
    document = _init(tree, "/opt/lego")
    assert _certificates(tree, document) == [("good", ("good.home.test",), False, "http-01")]
    assert [step.split(": ")[1].rpartition("/")[2] for step in _not_imported(document)] == [
        *("bytes.json", "deep.json", "folder.json", "half.json", "zero.json"),
    ]
