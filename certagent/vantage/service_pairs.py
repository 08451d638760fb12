"""The certificates that HAProxy, Caddy, PostgreSQL and Postfix are configured with, as their own files say; and the
services that keep theirs where no file can be exchanged. Reads only.
"""

import grp
import pwd
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from certagent.config import ProofEndpoint, Starttls
from certagent.domain.web_servers.haproxy import HaproxyBind, find_binds, split_line
from certagent.system.regular_files import read_texts
from certagent.vantage.foreign_files import Notes, Reading, read_part
from certagent.vantage.nginx_pairs import ANY_IPV4, ANY_IPV6

WEB_SERVERS = ("haproxy", "caddy")
"""Services that port 80 belongs to, as a rule."""

_SNAKEOIL = "ssl-cert-snakeoil.pem"
_NOT_LOADED = (".issuer", ".ocsp", ".sctl", ".key")
_ENDPOINT = re.compile(r"(?:ipv[46]@)?(.*?):(\d+)(?:-\d+)?")
_ASSIGNMENT = re.compile(r"\s*([a-z_]+)\s*(?:=|\s)\s*(?:'((?:[^'\\]|\\.|'')*)'|([^#\s]*))", re.IGNORECASE)
_SMTP_SERVICES = {"smtp": 25, "submission": 587, "submissions": 465, "smtps": 465}
_TLS_FROM_THE_START = 465
_LOOPBACK = "127.0.0.1"


class ServicePair(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate of a service, in files. `key` is the same file where both are in one. `endpoints`: with addresses
    as those of `NginxPair`. `command`: what makes the service read them.

    `owner`, `group`, `mode`: the key's now, where it is there. `only_watched`: why certagent cannot write it.
    """

    service: str
    certificate: Path
    key: Path
    endpoints: tuple[ProofEndpoint, ...] = ()
    command: tuple[str, ...] = ()
    reader: str | None = None
    owner: str | None = None
    group: str | None = None
    mode: int | None = None
    only_watched: str | None = None


class FoundServices(msgspec.Struct, frozen=True):
    """All pairs; what else was seen of these services, for a person; and why what looks like a pair is left out."""

    pairs: tuple[ServicePair, ...] = ()
    seen: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def find_services(root: Path = Path("/")) -> Reading[FoundServices]:
    """Below `root`. What cannot be read of one service hides nothing of another. Never raises."""
    notes = Notes()
    seen: list[str] = [*_proxmox(root), *_nginx_proxy_manager(root)]
    left_out: list[str] = []
    pairs: list[ServicePair] = []
    for find, place in _FINDERS:
        for file in sorted(root.glob(place)):
            found = read_part(file, lambda find=find, file=file: find(file), FoundServices(), notes)  # type: ignore[misc]
            named = [pair for pair in found.pairs if "\0" not in f"{pair.certificate}{pair.key}"]
            if len(named) < len(found.pairs):
                notes.add(file, None, "it names a file by what is not a valid file name")
            pairs += [_with_rights(pair) for pair in named if pair.certificate.name != _SNAKEOIL]
            left_out += [_shipped(pair, file) for pair in named if pair.certificate.name == _SNAKEOIL]
            seen += found.seen
            left_out += found.left_out
    return Reading(FoundServices(tuple(pairs), tuple(seen), tuple(left_out)), notes.all())


def _shipped(pair: ServicePair, file: Path) -> str:
    """Nobody trusts that pair, and every service of the node may use it."""
    return (
        f"{pair.service} serves {pair.certificate}, which Debian makes for every service: name files of its own in"
        f" {file}, then run this again"
    )


def _with_rights(pair: ServicePair) -> ServicePair:
    try:
        status = pair.key.stat()
        owner, group = pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name
    except (OSError, KeyError):
        return pair
    mode = stat.S_IMODE(status.st_mode) & 0o770
    return msgspec.structs.replace(pair, owner=owner, group=group, mode=mode if mode & 0o400 else None)


# --- HAProxy ----------------------------------------------------------------------------------------------------------


def _find_haproxy(file: Path) -> FoundServices:
    binds = find_binds(read_texts(file, ".cfg"))
    listened: dict[Path, dict[ProofEndpoint, None]] = {}
    for bind in binds:
        for certificate in (found for named in bind.crt for found in _crt_files(Path(named))):
            listened.setdefault(certificate, {}).update(dict.fromkeys(_endpoints_of(bind)))
    pairs = (_haproxy_pair(certificate, tuple(endpoints)) for certificate, endpoints in listened.items())
    lists = dict.fromkeys((name, bind.place.line) for bind in binds for name in bind.lists)
    told = [
        f"the certificates of HAProxy's crt-list {name} ({file}:{line}): certagent does not read it"
        for name, line in lists
    ]
    return FoundServices(tuple(pairs), left_out=tuple(told))


def _haproxy_pair(certificate: Path, endpoints: tuple[ProofEndpoint, ...]) -> ServicePair:
    apart = certificate.with_name(f"{certificate.name}.key")
    return ServicePair(
        service="haproxy",
        certificate=certificate,
        key=certificate,
        endpoints=endpoints,
        only_watched=f"its key is in {apart}: put both into one file first" if apart.exists() else None,
    )


def _crt_files(named: Path) -> Iterator[Path]:
    """What HAProxy loads for a `crt`: the file, or each of a folder's but for some endings and hidden ones."""
    if not named.is_dir():
        yield named
        return
    for file in sorted(named.iterdir()):
        if file.is_file() and not file.name.startswith(".") and file.suffix not in _NOT_LOADED:
            yield file


def _endpoints_of(bind: HaproxyBind) -> Iterator[ProofEndpoint]:
    for address in bind.addresses:
        match = _ENDPOINT.fullmatch(address)
        if match is not None and "/" not in address and "@" not in match[1]:
            yield ProofEndpoint(address=f"{_host(match[1])}:{match[2]}", proxy_protocol=bind.is_proxied)


def _host(written: str) -> str:
    """An address as an endpoint has it; any of this node's where none is meant."""
    bare = written.strip("[]")
    if bare in ("", "*", "0.0.0.0"):  # noqa: S104 - it is read, not listened at
        return ANY_IPV4
    if bare == "::":
        return ANY_IPV6
    return f"[{bare}]" if ":" in bare else bare


# --- Caddy ------------------------------------------------------------------------------------------------------------


def _find_caddy(file: Path) -> FoundServices:
    """Its sites with a `tls` that names two files. All others Caddy certifies by itself."""
    site, depth, found, own = "", 0, [], 0
    for line in read_texts(file, "")[0][1].splitlines():
        words = split_line(line)
        if depth == 0 and words[-1:] == ["{"]:
            site = " ".join(words[:-1])
            own += bool(site) and not site.startswith(("(", "http://"))
        if words[:1] == ["tls"] and len(words) > 2 and words[1].startswith("/") and words[2].startswith("/"):
            found.append(_caddy_pair(words, site, file))
            own -= 1
        depth += (words[-1:] == ["{"]) - (words == ["}"])
    told = f"Caddy certifies {own} sites of {file} by itself; a certificate with manage = false watches one"
    return FoundServices(tuple(found), (told,) if own > 0 else ())


def _caddy_pair(words: Sequence[str], site: str, file: Path) -> ServicePair:
    ports = dict.fromkeys(re.findall(r":(\d+)(?:[,\s/]|$)", site)) or {"443": None}
    return ServicePair(
        service="caddy",
        certificate=Path(words[1]),
        key=Path(words[2]),
        endpoints=tuple(ProofEndpoint(address=f"{ANY_IPV4}:{port}") for port in ports),
        command=("caddy", "reload", "--config", str(file), "--force"),
        reader="caddy",
    )


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


def _find_postgresql(file: Path) -> FoundServices:
    """A cluster of Debian's, /etc/postgresql/VERSION/NAME/postgresql.conf; the last of a setting counts."""
    texts = read_texts(file, "")
    if (file.parent / "conf.d").is_dir():
        texts += read_texts(file.parent / "conf.d", ".conf")
    settings = {
        match[1].lower(): (match[2] or match[3] or "").replace("''", "'")
        for _, text in texts
        for match in map(_ASSIGNMENT.match, text.splitlines())
        if match is not None
    }
    if settings.get("ssl", "off").lower() not in ("on", "true", "yes", "1"):
        return FoundServices()
    data = Path(settings.get("data_directory", file.parent))
    port = settings.get("port", "5432")
    listened = [one.strip() for one in settings.get("listen_addresses", "localhost").split(",") if one.strip()]
    pair = ServicePair(
        service="postgresql",
        certificate=data / settings.get("ssl_cert_file", "server.crt"),
        key=data / settings.get("ssl_key_file", "server.key"),
        endpoints=tuple(
            ProofEndpoint(address=f"{_LOOPBACK if one == 'localhost' else _host(one)}:{port}", starttls="postgres")
            for one in listened
        ),
        command=("systemctl", "reload", f"postgresql@{file.parts[-3]}-{file.parts[-2]}"),
        reader="postgres",
    )
    return FoundServices((pair,))


# --- Postfix ----------------------------------------------------------------------------------------------------------


def _find_postfix(file: Path) -> FoundServices:
    """main.cf: `smtpd_tls_chain_files` goes before `smtpd_tls_cert_file`, as in Postfix itself."""
    settings = _postfix_settings(read_texts(file, "")[0][1])
    chains = re.split(r"[,\s]+", settings.get("smtpd_tls_chain_files", "").strip())
    if chains != [""]:
        files = [(Path(chain), Path(key)) for key, chain in zip(chains[::2], chains[1::2], strict=False)]
        if len(chains) % 2:
            files = [(Path(one), Path(one)) for one in chains]
    elif settings.get("smtpd_tls_cert_file", "none") not in ("none", ""):
        certificate = settings["smtpd_tls_cert_file"]
        files = [(Path(certificate), Path(settings.get("smtpd_tls_key_file", certificate)))]
    else:
        return FoundServices()
    endpoints = tuple(_postfix_endpoints(file.with_name("master.cf"), settings))
    return FoundServices(
        tuple(
            ServicePair(
                service="postfix",
                certificate=certificate,
                key=key,
                endpoints=endpoints,
                command=("systemctl", "reload", "postfix"),
            )
            for certificate, key in files
        )
    )


def _postfix_settings(text: str) -> dict[str, str]:
    """Logical lines: what begins with a blank goes on with the line before. `$name` is another setting's value."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and lines:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    pairs = (line.partition("=") for line in lines if "=" in line)
    found = {name.strip(): value.strip() for name, _, value in pairs}
    known = {"config_directory": "/etc/postfix"} | found
    return {name: re.sub(r"\$[{(]?(\w+)[})]?", lambda one: known.get(one[1], one[0]), found[name]) for name in found}


def _postfix_endpoints(master: Path, settings: dict[str, str]) -> Iterator[ProofEndpoint]:
    interfaces = [one for one in re.split(r"[,\s]+", settings.get("inet_interfaces", "all")) if one]
    text = read_texts(master, "")[0][1] if master.is_file() else "smtp inet"
    for service in re.findall(r"(?m)^([^\s#]\S*)\s+inet\b", text):
        host, _, name = service.rpartition(":")
        port = _SMTP_SERVICES.get(name) or (int(name) if name.isdigit() else None)
        for one in [host] if host else interfaces:
            where = {"all": ANY_IPV4, "loopback-only": _LOOPBACK, "localhost": _LOOPBACK}.get(one) or _host(one)
            if port is not None and "$" not in where:
                starttls: Starttls | None = None if port == _TLS_FROM_THE_START else "smtp"
                yield ProofEndpoint(address=f"{where}:{port}", starttls=starttls)


# --- without files that could be exchanged ----------------------------------------------------------------------------


def _proxmox(root: Path) -> Iterator[str]:
    if (root / "usr/bin/pvenode").exists():
        yield (
            "pveproxy of Proxmox VE has its certificate in /etc/pve, and is given one by `pvenode cert set CHAIN KEY"
            " --force --restart`: a target of the kind `command` runs that, with files of its own (docs/recipes.md)"
        )


def _nginx_proxy_manager(root: Path) -> Iterator[str]:
    for name in ("data/database.sqlite", "opt/nginxproxymanager", "opt/npm"):
        if (root / name).exists():
            yield (
                f"Nginx Proxy Manager (/{name}) keeps its certificates in its database and writes the files from there:"
                " certagent cannot deploy to it; certificates with manage = false watch what it serves"
            )
            return


_FINDERS: tuple[tuple[Callable[[Path], FoundServices], str], ...] = (
    (_find_haproxy, "etc/haproxy/haproxy.cfg"),
    (_find_caddy, "etc/caddy/Caddyfile"),
    (_find_postgresql, "etc/postgresql/*/*/postgresql.conf"),
    (_find_postfix, "etc/postfix/main.cf"),
)
