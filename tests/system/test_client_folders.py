"""Whose live folder a file lies in: by path, by links, by what lies beside it; and what is nobody's."""

from pathlib import Path

import pytest

from certagent.system.client_folders import find_client


@pytest.mark.parametrize(
    ("file", "owner", "evidence"),
    [
        ("/etc/letsencrypt/live/a/fullchain.pem", "certbot", "/etc/letsencrypt/live"),
        ("/etc/letsencrypt/archive/a/fullchain3.pem", "certbot", "/etc/letsencrypt/archive"),
        ("/config/etc/letsencrypt/live/a/fullchain.pem", "certbot", "/config/etc/letsencrypt/live"),
        ("/etc/letsencrypt/live/npm-4/fullchain.pem", "Nginx Proxy Manager", "/etc/letsencrypt/live/npm-4"),
        ("/data/custom_ssl/npm-2/fullchain.pem", "Nginx Proxy Manager", "/data/custom_ssl/npm-2"),
        ("/root/.lego/certificates/a.crt", "lego", "/root/.lego/certificates"),
        ("/root/.acme.sh/a_ecc/fullchain.cer", "acme.sh", "/root/.acme.sh"),
        ("/var/lib/caddy/.local/share/caddy/certificates/x/a/a.crt", "Caddy", "/var/lib/caddy"),
        ("/data/caddy/certificates/x/a/a.crt", "Caddy", "/data/caddy/certificates"),
        ("/var/lib/dehydrated/certs/a/fullchain.pem", "dehydrated", "/var/lib/dehydrated"),
        ("/etc/pve/local/pveproxy-ssl.pem", "Proxmox VE", "/etc/pve"),
        (
            "/etc/ssl/certs/ssl-cert-snakeoil.pem",
            "Debian ssl-cert",
            "/etc/ssl/certs/ssl-cert-snakeoil.pem",
        ),
        ("/etc/nginx/../letsencrypt/live/a/fullchain.pem", "certbot", "/etc/letsencrypt/live"),
    ],
)
def test_a_path_tells_whose_it_is(file: str, owner: str, evidence: str) -> None:
    """Nothing has to exist for that."""
    found = find_client(Path(file))
    assert found is not None
    assert (found.owner, str(found.evidence)) == (owner, evidence)


@pytest.mark.parametrize(
    "file",
    [
        *("/etc/nginx/ssl/a.crt", "/etc/ssl/certs/a.pem", "/etc/letsencrypt/ssl/a.crt", "/srv/live/a/fullchain.pem"),
        *("/etc/caddy/ssl/a.crt", "/etc/nginx/acme.sh.crt", "/var/lib/certagent/a/1/fullchain.pem"),
    ],
)
def test_what_is_nobodys(file: str) -> None:
    """A word in a name is no owner."""
    assert find_client(Path(file)) is None


def test_links_are_followed_at_each_step(tmp_path: Path) -> None:
    """Of the file, and of a folder above it; a loop ends."""
    live = tmp_path / "letsencrypt" / "live" / "a"
    live.mkdir(parents=True)
    (live / "fullchain.pem").write_text("x")
    (tmp_path / "one.crt").symlink_to("two.crt")
    (tmp_path / "two.crt").symlink_to(live / "fullchain.pem")
    (tmp_path / "folder").symlink_to(live)
    (tmp_path / "loop").symlink_to("loop")
    for file in ("one.crt", "folder/fullchain.pem"):
        found = find_client(tmp_path / file)
        assert found is not None
        assert found.owner == "certbot"
    assert find_client(tmp_path / "loop") is None


@pytest.mark.parametrize(
    ("file", "record", "content", "owner"),
    [
        ("le/live/a/fullchain.pem", "le/renewal/a.conf", "fullchain = /x\n", "certbot"),
        ("certs/a.crt", "certs/a.json", '{"domain": "a", "certUrl": "https://ca/1"}', "lego"),
        ("tls/a_ecc/fullchain.cer", "tls/a_ecc/a.conf", "Le_Domain='a'\n", "acme.sh"),
        ("tls/a_ecc/a.cer", "tls/a_ecc/a.conf", "Le_Domain='a'\n", "acme.sh"),
    ],
)
def test_a_record_beside_it_tells_whose_it_is(tmp_path: Path, file: str, record: str, content: str, owner: str) -> None:
    """Wherever the client was told to keep its files."""
    (tmp_path / record).parent.mkdir(parents=True, exist_ok=True)
    assert find_client(tmp_path / file) is None
    (tmp_path / record).write_text(content)
    found = find_client(tmp_path / file)
    assert found is not None
    assert (found.owner, found.evidence) == (owner, tmp_path / record)
