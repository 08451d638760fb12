"""What a CA's ca.json says of the CA itself: its names, its port, its ACME provisioners and its roots, for the
configuration of an agent beside it. Only reads, and returns no secret."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certagent.domain.identifiers import flaw_of, is_address, is_wildcard
from certagent.system.procfs import ProcFs
from certagent.system.regular_files import is_there, read_bytes
from certagent.vantage.foreign_files import Notes, Reading, read_foreign, read_part

PLACES = (
    Path("/etc/step-ca/config/ca.json"),
    Path("/etc/step-ca/ca.json"),
    Path("/etc/step/config/ca.json"),
    Path("/root/.step/config/ca.json"),
    Path("/home/step/.step/config/ca.json"),
    Path("/home/step/config/ca.json"),
)
"""Where packages and guides put it."""

_DEFAULT_PORT = 443
_MOST_NAMES, _MOST_PROVISIONERS, _MOST_ROOTS = 100, 100, 16


class CaFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`names`: what the CA is reached by, as certificates may have it. `provisioners`: the ACME ones' names.

    `provisioners_elsewhere`: they are in the CA's database (`enableAdmin`), so the file need not have them all.
    `roots`: PEM, one each. `allowed`: the DNS names that the file's policy allows orders for.
    """

    names: tuple[str, ...] = ()
    port: int = _DEFAULT_PORT
    provisioners: tuple[str, ...] = ()
    provisioners_elsewhere: bool = False
    roots: tuple[bytes, ...] = ()
    allowed: tuple[str, ...] = ()

    def directory(self, provisioner: str) -> str | None:
        """The URL of that provisioner's ACME directory, by the CA's first DNS name, else its first address."""
        hosts = sorted(self.names, key=is_address)
        if not hosts:
            return None
        host = f"[{hosts[0]}]" if ":" in hosts[0] else hosts[0]
        port = "" if self.port == _DEFAULT_PORT else f":{self.port}"
        return f"https://{host}{port}/acme/{quote(provisioner, safe='')}/directory"

    def zones(self) -> tuple[str, ...]:
        """The domains that the CA's own names are in, and those of its policy's wildcards: `internal.example` for
        `ca.internal.example`."""
        parents = [name.partition(".")[2] for name in self.names if not is_address(name)]
        parents += [name.removeprefix("*.") for name in self.allowed if is_wildcard(name)]
        return tuple(dict.fromkeys(parent.lower() for parent in parents if parent))


def find_ca_file(proc: ProcFs, process: str = "step-ca") -> Path | None:
    """The file that the running CA was started with, else the first of the usual places; None where there is none."""
    arguments = (Path(word) for found in proc.processes(process) for word in found.command[1:] if ".json" in word)
    named = (file for file in arguments if file.is_absolute() and file.suffix == ".json")
    return next((file for file in (*named, *PLACES) if is_there(file)), None)


def read_ca_facts(file: Path) -> Reading[CaFacts | None]:
    """What the file says; None where it says nothing that can be used."""
    return read_foreign(file, lambda notes: _facts(file, notes), None)


def _facts(file: Path, notes: Notes) -> CaFacts | None:
    document = json.loads(read_bytes(file))
    if not isinstance(document, dict):
        notes.add(file, 1, "it is not a table")
        return None
    authority = _table(document, "authority")
    policy = _table(_table(authority, "policy"), "x509")
    wanted = _texts(_table(policy, "allow"), "dns")
    return CaFacts(
        names=tuple(_good_names(file, document, notes)),
        port=_port(file, document, notes),
        provisioners=tuple(_provisioners(file, authority, notes)),
        provisioners_elsewhere=authority.get("enableAdmin") is True,
        roots=tuple(_roots(file, document, notes)),
        allowed=tuple(name for name in wanted[:_MOST_NAMES] if flaw_of(name) is None and not is_address(name)),
    )


def _good_names(file: Path, document: Mapping[str, Any], notes: Notes) -> Iterable[str]:
    for name in _texts(document, "dnsNames")[:_MOST_NAMES]:
        if flaw_of(name) is None and not is_wildcard(name):
            yield name.lower()
        else:
            notes.add(file, None, "dnsNames contains a value that is neither a host name nor an address")


def _port(file: Path, document: Mapping[str, Any], notes: Notes) -> int:
    """Of `address`, which may be a list in newer versions."""
    said = document.get("address", "")
    first = said[0] if isinstance(said, list) and said else said
    found = re.fullmatch(r".*:([0-9]{1,5})", first) if isinstance(first, str) else None
    if found is not None and 0 < int(found[1]) < 65536:
        return int(found[1])
    if said != "":
        notes.add(file, None, f"address has no port; {_DEFAULT_PORT} is assumed")
    return _DEFAULT_PORT


def _provisioners(file: Path, authority: Mapping[str, Any], notes: Notes) -> Iterable[str]:
    found = authority.get("provisioners")
    for entry in (found if isinstance(found, list) else [])[:_MOST_PROVISIONERS]:
        if not isinstance(entry, dict) or str(entry.get("type")).upper() != "ACME":
            continue
        name = entry.get("name")
        if isinstance(name, str) and name and name.isprintable() and _is_unicode(name):
            yield name
        else:
            notes.add(file, None, "an ACME provisioner has no usable name")


def _roots(file: Path, document: Mapping[str, Any], notes: Notes) -> Iterable[bytes]:
    """The certificates alone, made anew: whatever else is in those files stays there."""
    said = document.get("root")
    paths = [said] if isinstance(said, str) else _texts(document, "root")
    for path in paths[:_MOST_ROOTS]:
        if not path.startswith("/") or not path.isprintable():
            notes.add(file, None, "root is not an absolute path")
            continue
        nothing: list[bytes] = []
        yield from read_part(Path(path), partial(_certificates, Path(path), notes), nothing, notes)


def _certificates(path: Path, notes: Notes) -> list[bytes]:
    try:
        found = x509.load_pem_x509_certificates(read_bytes(path))
        return [one.public_bytes(Encoding.PEM) for one in found[:_MOST_ROOTS]]
    except FileNotFoundError:
        notes.add(path, None, "it does not exist")
    except ValueError:
        notes.add(path, None, "it contains no certificate")
    return []


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _table(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _texts(document: Mapping[str, Any], key: str) -> list[str]:
    found = document.get(key)
    return [value for value in found if isinstance(value, str)] if isinstance(found, list) else []
