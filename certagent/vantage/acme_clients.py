"""What other ACME clients wrote down of their renewals: certbot, lego, acme.sh, Traefik. Reads only, and shows no key.

What such a client does not write down (the names) is read from the certificate that it issued. For what is no file of
that client's, there is None; for one that cannot be read, ValueError in words a person can act on, or OSError. In a
folder that another user can change, links are followed to that user's own files alone.
"""

import base64
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from certagent.domain.certificates import UNREADABLE, read_leaf
from certagent.system.path_walk import read_linked
from certagent.system.regular_files import is_there
from certagent.vantage.foreign_files import Notes, read_part

_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_NEEDS_A_SHELL = re.compile(r"[|&;<>()$`\\\"'*?\[#~%\n]")
_CODED = "__ACME_BASE64__"
_BASE64 = re.compile(r"__ACME_BASE64__START_(.*)__ACME_BASE64__END_", re.DOTALL)
_NONE = "no"  # acme.sh's word


class UnreadableRenewalError(ValueError):
    """A file that is not what its place says. `problem` is the sentence without the file."""

    def __init__(self, file: Path, said: str) -> None:
        super().__init__(f"{file} {said}")
        self.problem = f"it {said}"


class ImportedRenewal(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that another tool renews, or that a list names. `command` is what it runs afterwards; `hook` the
    same in its own words, where no argument list says as much; `hooks` is what it runs besides. `renewer` None: the
    list names nobody. Of Traefik's, certificate and key are the store that both lie in."""

    name: str
    identifiers: tuple[str, ...]
    certificate: Path
    key: Path
    source: Path
    renewer: str | None = None
    owner: str | None = None
    group: str | None = None
    mode: int | None = None
    command: tuple[str, ...] = ()
    hook: str | None = None
    hooks: tuple[str, ...] = ()
    proven_by: str = "http-01"  # by its own settings

    @property
    def challenge(self) -> str:
        """By which challenge the names are proven; a wildcard can be by dns-01 alone."""
        is_wild = any(name.startswith("*.") for name in self.identifiers)
        return "dns-01" if is_wild else self.proven_by

    @property
    def story(self) -> str:
        """Who renews it, and what that runs besides, in a sentence."""
        others = f"; it also runs {', '.join(self.hooks)}" if self.hooks else ""
        return f"{self.renewer or self.source} renews {self.certificate}{others}"


# --- certbot ----------------------------------------------------------------------------------------------------------


def read_certbot(file: Path) -> list[ImportedRenewal]:
    values = _read_sections(_read(file))
    try:
        certificate, key = Path(values["fullchain"]), Path(values["privkey"])
    except KeyError as error:
        raise UnreadableRenewalError(file, f"is not a certbot renewal: it has no {error.args[0]}") from error
    issued = _names_in(certificate, file.parents[1] / "live" / file.stem / "fullchain.pem")
    names = issued or tuple(key.partition(".")[2] for key in values if key.startswith("webroot_map."))
    if not names:
        raise UnreadableRenewalError(file, "does not list its names, and its certificate cannot be read")
    scripts = [str(path) for kind in ("pre", "deploy", "post") for path in _scripts(file.parents[1], kind)]
    told = [f"{kind}: {hook}" for kind in ("pre_hook", "post_hook") if (hook := values.get(f"renewalparams.{kind}"))]
    return [
        ImportedRenewal(
            name=name_of(file.stem),
            identifiers=names,
            certificate=certificate,
            key=key,
            source=file,
            renewer="certbot",
            hooks=(*told, *scripts),
            proven_by="dns-01" if _uses_dns(values) else "http-01",
            **command_of(values.get("renewalparams.renew_hook")),
        )
    ]


def _scripts(folder: Path, kind: str) -> list[Path]:
    """Hooks that certbot runs for every certificate."""
    try:
        return sorted(path for path in (folder / "renewal-hooks" / kind).iterdir() if path.is_file())
    except OSError:
        return []


def _uses_dns(values: Mapping[str, str]) -> bool:
    """certbot's DNS plugins are called dns-*; the others take the challenge that is preferred first."""
    preferred = values.get("renewalparams.pref_challs", "").partition(",")[0].strip()
    return values.get("renewalparams.authenticator", "").startswith("dns-") or preferred.startswith("dns")


def _read_sections(text: str) -> dict[str, str]:
    """`key = value`, the value perhaps in quotes; within a `[section]` (certbot writes deeper ones below it)
    `section.key`."""
    values: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"\s*\[+(\w+)\]+\s*", line):
            section = f"{heading[1]}."
        elif pair := re.fullmatch(r"\s*([\w.*-]+)\s*=\s*(.*?)\s*", line):
            values[section + pair[1]] = _unquoted(pair[2])
    return values


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if is_quoted else value


# --- lego -------------------------------------------------------------------------------------------------------------


def read_lego(file: Path) -> list[ImportedRenewal]:
    """Nothing for JSON that is not lego's. Version 4 writes the first name, version 5 all of them."""
    document = load_json(file)
    names = [document.get("domain"), *_list(document.get("domains"))] if isinstance(document, dict) else []
    told = [name for name in names if isinstance(name, str)]
    if not told:
        return []
    certificate = file.with_suffix(".crt")
    return [
        ImportedRenewal(
            name=name_of(file.stem),
            identifiers=_union(told, _names_in(certificate)),
            certificate=certificate.absolute(),
            key=file.with_suffix(".key").absolute(),
            source=file,
            renewer="lego",
        )
    ]


# --- acme.sh ----------------------------------------------------------------------------------------------------------


def acme_sh_files(path: Path) -> Iterator[Path]:
    """acme.sh keeps a domain in a folder of its name, of ECDSA with `_ecc`, and its settings in NAME.conf there."""
    try:
        folders = sorted(folder for folder in (path, *path.iterdir()) if folder.is_dir())
    except OSError:
        return
    for folder in folders:
        file = folder / f"{folder.name.removesuffix('_ecc')}.conf"
        if is_there(file):
            yield file


def says_acme_sh(file: Path) -> bool:
    """Whether a file of settings is acme.sh's."""
    return "Le_Domain" in _read_sections(_read(file))


def read_acme_sh(file: Path) -> list[ImportedRenewal]:
    values = {key: _decoded(value) for key, value in _read_sections(_read(file)).items()}
    domain = values.get("Le_Domain")
    if not domain:
        raise UnreadableRenewalError(file, "is not an acme.sh domain: it has no Le_Domain")
    others = [name for name in values.get("Le_Alt", "").split(",") if name not in ("", _NONE)]
    certificate = Path(
        values.get("Le_RealFullChainPath") or values.get("Le_RealCertPath") or file.parent / "fullchain.cer"
    )
    told = [
        f"{key.removeprefix('Le_')}: {values[key]}"
        for key in ("Le_PreHook", "Le_PostHook", "Le_RenewHook")
        if values.get(key)
    ]
    return [
        ImportedRenewal(
            name=name_of(domain),
            identifiers=_union([domain, *others], _names_in(certificate, file.parent / "fullchain.cer")),
            certificate=certificate.absolute(),
            key=Path(values.get("Le_RealKeyPath") or file.parent / f"{domain}.key").absolute(),
            source=file,
            renewer="acme.sh",
            hooks=tuple(told),
            proven_by=_asked_by(values.get("Le_Webroot", "")),
            **command_of(values.get("Le_ReloadCmd")),
        )
    ]


def _asked_by(webroot: str) -> str:
    """What acme.sh has in the place of a web root says by which challenge it proves the first name."""
    first = webroot.partition(",")[0]
    return "dns-01" if first.startswith("dns") else "tls-alpn-01" if first == "alpn" else "http-01"


def _decoded(value: str) -> str:
    coded = _BASE64.fullmatch(value)
    try:
        return base64.b64decode("".join(coded[1].split()), validate=True).decode().strip() if coded else value
    except ValueError:  # half of it, or something else
        return value


# --- Traefik ----------------------------------------------------------------------------------------------------------


def read_traefik_store(file: Path, notes: Notes) -> list[ImportedRenewal]:
    """Nothing for JSON that is not its store. Since version 2 that has a table for each certificate resolver; before,
    it was such a table itself. Keys were written in capitals then; Go reads them without case."""
    document = _lowered(load_json(file))
    tables = [document, *document.values()] if isinstance(document, dict) else []
    entries = [entry for table in tables if isinstance(table, dict) for entry in _stored_in(table)]
    found = (read_part(file, partial(_stored, file, entry), None, notes) for entry in entries)
    return [renewal for renewal in found if renewal is not None]


def _stored_in(table: Mapping[str, Any]) -> list[Any]:
    """The certificates of one account; those of Traefik 1.0 lie one table deeper."""
    old = table.get("domainscertificate")
    if isinstance(old, dict):
        return _list(old.get("certs"))
    found = _list(table.get("certificates"))
    is_store = "account" in table or any(isinstance(entry, dict) and "certificate" in entry for entry in found)
    return found if is_store else []


def _stored(file: Path, entry: Any) -> ImportedRenewal:
    """Certificate and key lie in the store, in Base64; the key is not looked at."""
    domain = next((one for key in ("domain", "domains") if isinstance(one := entry.get(key), dict)), {})
    kept = entry.get("certificate")
    names = _union(
        [name for name in (domain.get("main"), *_list(domain.get("sans"))) if isinstance(name, str) and name],
        _names_stored(kept.get("certificate") if isinstance(kept, dict) else kept),
    )
    if not names:
        raise UnreadableRenewalError(file, "has a certificate whose names cannot be read")
    return ImportedRenewal(
        name=name_of(names[0]),
        identifiers=names,
        certificate=file.absolute(),
        key=file.absolute(),
        source=file,
        renewer="Traefik",
    )


def _names_stored(coded: Any) -> tuple[str, ...]:
    try:
        return read_leaf(base64.b64decode(coded)).identifiers
    except (TypeError, *UNREADABLE):
        return ()


def _lowered(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key).lower(): _lowered(inner) for key, inner in value.items()}
    return [_lowered(inner) for inner in value] if isinstance(value, list) else value


# --- all of them -----------------------------------------------------------------------------------------------------


def load_json(file: Path) -> Any:
    """The document. Raises `UnreadableRenewalError`."""
    try:
        return json.loads(read_linked(file).content.decode())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        said = f"is neither a certbot renewal (*.conf) nor JSON: {error}"
        raise UnreadableRenewalError(file, said) from error
    except RecursionError as error:
        raise UnreadableRenewalError(file, "is nested too deeply") from error


def _read(file: Path) -> str:
    return read_linked(file).content.decode("utf-8", "replace")


def command_of(hook: str | None) -> dict[str, Any]:
    """As an argument list where that says the same; certagent runs no shell."""
    if not hook:
        return {}
    return {"hook": hook} if _NEEDS_A_SHELL.search(hook) or is_coded(hook) else {"command": tuple(shlex.split(hook))}


def is_coded(hook: str) -> bool:
    """Whether it is as acme.sh wrote it, because it could not be decoded."""
    return hook.startswith(_CODED)


def name_of(text: str) -> str:
    """A certificate's name after its first identifier, or after a file."""
    return _NAME.sub("-", text.replace("*", "wildcard").removeprefix("_.")).strip(".-_") or "certificate"


def _names_in(*paths: Path) -> tuple[str, ...]:
    """Of the first certificate that can be read."""
    for path in paths:
        try:
            return read_leaf(read_linked(path).content).identifiers
        except (OSError, *UNREADABLE):
            continue
    return ()


def _union(told: list[str], issued: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*told, *issued)))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
