"""The pairs that Traefik's file provider gives it, each with its line and the names that Traefik takes it for.

Facts: Traefik's source (v3). The provider collects the pairs of all its files without an order, so of two for one name
chance decides at each load; the common name counts beside the alternative ones; a pair of which a part cannot be read
is left out; a certificate may stand in the file itself.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from certagent.domain.certificates import UNREADABLE, read_facts
from certagent.domain.observations import Place
from certagent.system.regular_files import read_bytes
from certagent.vantage.config_nodes import TEMPLATE, ConfigNode
from certagent.vantage.foreign_files import Notes, Reading, read_foreign, read_part
from certagent.vantage.traefik_files import (
    TRAEFIK,
    DynamicFile,
    files_below,
    find_static,
    load_files,
    load_static,
    provider_files,
    provider_folder,
    resolve,
)

_STORE = "default"
_INLINE = "-----BEGIN"


class TraefikPair(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of `tls.certificates`. `certificate`: its path, or None for one that stands in the file itself."""

    place: Place
    names: frozenset[str]
    certificate: str | None = None


def find_traefik_pairs(
    dynamic: Path, note: Callable[[Path], object], static_paths: tuple[Path, ...] = TRAEFIK
) -> Reading[tuple[TraefikPair, ...]]:
    """All of the file provider that reads the folder `dynamic`; of the folder alone, where no Traefik is known to read
    it. `note` is told of each file and folder before it is read."""
    return read_foreign(dynamic, lambda notes: tuple(_pairs(dynamic, note, static_paths, notes)), ())


def _pairs(
    dynamic: Path, note: Callable[[Path], object], static_paths: tuple[Path, ...], notes: Notes
) -> Iterator[TraefikPair]:
    static = find_static(static_paths)
    if static is not None:
        note(static)
    for file in load_files(_files(dynamic, static, note, notes), notes):
        entries: list[ConfigNode] = read_part(file.path, partial(_entries, file), [], notes)
        for entry in entries:
            pair = read_part(file.path, partial(_pair, entry, static or dynamic, note), None, notes)
            if pair is not None:
                yield pair


def _files(dynamic: Path, static: Path | None, note: Callable[[Path], object], notes: Notes) -> list[Path]:
    folder, found = dynamic, None
    if static is not None:
        node = load_static(static, notes)
        provided, _ = provider_folder(static, node)
        if provided is not None and dynamic.resolve().is_relative_to(provided.resolve()):
            folder, found = provided, provider_files(static, node, notes)
    files = files_below(folder) if found is None else found
    for path in dict.fromkeys((folder, *(file.parent for file in files), *files)):
        note(path)
    return files


def _entries(file: DynamicFile) -> list[ConfigNode]:
    return file.node.get("tls", "certificates").items()


def _pair(entry: ConfigNode, static: Path, note: Callable[[Path], object]) -> TraefikPair | None:
    """None for one that Traefik leaves out, has in another store, or that only it can render."""
    stores = [store.text() for store in entry.get("stores").texts()]
    certificate, key = entry.get("certFile"), entry.get("keyFile")
    if (stores and _STORE not in stores) or TEMPLATE in certificate.text() + key.text():
        return None
    chain = _content(certificate.text(), static, note)
    if chain is None or _content(key.text(), static, note) is None:
        return None
    path = None if _INLINE in certificate.text() else str(resolve(static, certificate.text()))
    return TraefikPair(place=certificate.place, names=_names_of(chain), certificate=path)


def _content(text: str, static: Path, note: Callable[[Path], object]) -> bytes | None:
    """What stands there, or in the file that it names."""
    if _INLINE in text:
        return text.encode()
    path = resolve(static, text)
    note(path)
    try:
        return read_bytes(path) if text else None
    except OSError:
        return None


def _names_of(chain: bytes) -> frozenset[str]:
    """In lower case; none for what is no certificate."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        common = [str(name.value) for name in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        return frozenset(name.lower() for name in (*read_facts(leaf).identifiers, *common))
    except UNREADABLE:
        return frozenset()
