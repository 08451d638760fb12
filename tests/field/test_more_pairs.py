"""Further members of the field's kinds: another client's pair by place, link, key or copy; names and listen lines of
every form; imports that are half broken."""

import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from tests.field.small_nodes import ADDRESS, NGINX, certificates, initialised, node, pair_of, site

pytestmark = pytest.mark.slow

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
    done = tree.run(["sh", "-ec", f"{off}; {sys.executable} -m certagent.entry {words}"])
    assert done.returncode == 0, done.stderr
    written = tomllib.loads((tmp_path / "etc/certagent/agent.toml").read_text())
    assert written["certificate"][0]["deploy"][0]["prove"] == ["10.0.0.12:443"]


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


def test_an_address_of_the_certificate_is_kept_but_beside_a_wildcard(tmp_path: Path) -> None:
    """dns-01 proves no address; the rest of the pair is not lost for it."""
    files = {f"etc/nginx/conf.d/{key}.conf": site(f"{key}.home.test", key) for key in "ab"}
    pairs = [pair_of("a", "a.home.test", "10.0.0.5"), pair_of("b", "*.b.home.test", "b.home.test", "10.0.0.5")]
    found = certificates(node(tmp_path, {"etc/nginx/nginx.conf": NGINX, **files}, pairs))
    assert {(tuple(sorted(one["identifiers"])), one["manage"]) for one in found.values()} == {
        (("10.0.0.5", "a.home.test"), True),
        (("*.b.home.test", "b.home.test"), False),
    }


def test_where_nginx_listens_by_ipv6_alone_and_there_is_none_the_pair_is_not_proven(tmp_path: Path) -> None:
    """It is kept, and that is said."""
    listen = "listen [::]:443 ssl; listen [::1]:8443 ssl;"
    files = {"etc/nginx/nginx.conf": NGINX, "etc/nginx/conf.d/a.conf": site("a.home.test", "a", listen)}
    tree = node(tmp_path, files, [pair_of("a", "a.home.test")])
    assert certificates(tree)["a.home.test"]["deploy"][0]["prove"] == []
    said = "this node has no IPv6 address, so it is not proven"
    assert said in (tmp_path / "etc/certagent/agent.toml").read_text()
