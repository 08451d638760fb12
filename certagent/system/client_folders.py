"""Folders that another ACME client, panel or package keeps its live certificates in: by path, links followed, and by
what lies beside the file. Reads only, and never raises for what it finds.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from certagent.system.regular_files import read_bytes

NGINX_PROXY_MANAGER = "Nginx Proxy Manager"
_LARGEST_SIGN = 64 * 1024
_MOST_LINKS = 40

_FOLDERS = (
    ("*/letsencrypt/live/npm-*", NGINX_PROXY_MANAGER),
    ("*/letsencrypt/archive/npm-*", NGINX_PROXY_MANAGER),
    ("*/custom_ssl/npm-*", NGINX_PROXY_MANAGER),
    ("*/letsencrypt/live", "certbot"),
    ("*/letsencrypt/archive", "certbot"),
    ("*/.lego/certificates", "lego"),
    ("*/lego/certificates", "lego"),
    ("*/var/lib/lego", "lego"),
    ("*/.acme.sh", "acme.sh"),
    ("*/etc/acme.sh", "acme.sh"),
    ("*/opt/acme.sh", "acme.sh"),
    ("*/var/lib/acme.sh", "acme.sh"),
    ("*/var/lib/caddy", "Caddy"),
    ("*/caddy/certificates", "Caddy"),
    ("*/var/lib/dehydrated", "dehydrated"),
    ("*/dehydrated/certs", "dehydrated"),
    ("*/etc/ssl/uacme", "uacme"),
    ("*/var/lib/acme/live", "acmetool"),
    ("*/var/lib/acme", "the NixOS ACME module or acmetool"),
    ("*/.getssl", "getssl"),
    ("*/etc/apache2/md", "Apache's mod_md"),
    ("*/var/lib/apache2/md", "Apache's mod_md"),
    ("*/var/lib/tailscale/certs", "tailscale"),
    ("*/etc/pve", "Proxmox VE"),
    ("*/usr/local/psa/var/certificates", "Plesk"),
    ("*/opt/psa/var/certificates", "Plesk"),
    ("*/var/cpanel/ssl", "cPanel"),
    ("*/usr/local/directadmin", "DirectAdmin"),
    ("*/usr/local/hestia", "HestiaCP"),
    ("*/www/server/panel/vhost/cert", "aaPanel"),
    ("*/etc/yunohost/certs", "YunoHost"),
    ("*/usr/syno/etc/certificate", "Synology DSM"),
)
"""Folders by pattern (`*/` is any folder, another `*` any part of a name), the narrower ones first: what lies below
belongs to that owner."""

_FILES = (
    ("*/ssl-cert-snakeoil.pem", "Debian ssl-cert"),
    ("*/ssl-cert-snakeoil.key", "Debian ssl-cert"),
)


def _compiled(pattern: str, end: str) -> re.Pattern[str]:
    return re.compile(f"(.*?{re.escape(pattern.removeprefix('*')).replace(re.escape('*'), '[^/]*')}){end}")


_PATTERNS = (
    *((_compiled(pattern, "$"), owner) for pattern, owner in _FILES),
    *((_compiled(pattern, "(?=/)"), owner) for pattern, owner in _FOLDERS),
)


_ANY = re.compile(
    "|".join(
        re.escape(pattern.removeprefix("*")).replace(re.escape("*"), "[^/]*") for pattern, _ in (*_FILES, *_FOLDERS)
    )
)
"""What is in every path that one of the patterns is about: most paths are none of them."""


class ClientFolder(msgspec.Struct, frozen=True):
    """Whose file it is, and what shows that: the folder, the link's target, or the client's own record of it."""

    owner: str
    evidence: Path


def find_client(file: Path) -> ClientFolder | None:
    """Whose live folder `file` lies in, or leads to by links; None where nobody's is recognised. Blocks."""
    for place in _places(file):
        found = _by_path(place) or _by_record(place)
        if found is not None:
            return found
    return None


def _places(file: Path) -> Iterator[Path]:
    """The path as it is named, in its real folder, at each link on the way, and where it ends."""
    place = Path(os.path.normpath(file))
    seen: set[Path] = set()
    while place not in seen and len(seen) < _MOST_LINKS:
        seen.add(place)
        yield place
        real = Path(os.path.realpath(place.parent)) / place.name
        if real != place:
            yield real
        try:
            place = Path(os.path.normpath(real.parent / os.readlink(real)))
        except OSError:
            return


def _by_path(place: Path) -> ClientFolder | None:
    for pattern, owner in _PATTERNS if _ANY.search(str(place)) else ():
        found = pattern.match(str(place))
        if found is not None:
            return ClientFolder(owner, Path(found[1]))
    return None


def _by_record(place: Path) -> ClientFolder | None:
    """By what a client writes beside its certificates, wherever it was told to keep them."""
    folder, stem = place.parent, place.stem.removesuffix(".issuer")
    renewal = folder.parents[1] / "renewal" / f"{folder.name}.conf" if len(folder.parents) > 1 else None
    if renewal is not None and folder.parent.name in ("live", "archive") and _says(renewal, rb"(?m)^\s*fullchain\s*="):
        return ClientFolder("certbot", renewal)
    if _says(folder / f"{stem}.json", rb'"(?:certUrl|certStableUrl)"'):
        return ClientFolder("lego", folder / f"{stem}.json")
    for conf in (folder / f"{folder.name.removesuffix('_ecc')}.conf", folder / f"{stem}.conf"):
        if _says(conf, rb"(?m)^Le_Domain="):
            return ClientFolder("acme.sh", conf)
    return None


def _says(file: Path, pattern: bytes) -> bool:
    try:
        return re.search(pattern, read_bytes(file, _LARGEST_SIGN)) is not None
    except OSError:
        return False
