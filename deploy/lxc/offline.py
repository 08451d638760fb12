"""The offline bundle: the layers for every Debian that is known, in one file, for hosts without the internet.

A gzipped tar: `manifest.json`, and the layers as they are sent into containers, each under its own name.
"""

import gzip
import io
import json
import platform
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import bundle
from transport import Facts

DEBIANS = {"Debian 12": ("3.11", "2.36"), "Debian 13": ("3.13", "2.41")}
"""Python and glibc of each release."""


def make(target: Path, wheel: Path) -> Iterator[str]:
    """Write the file whole or not at all; tells what is in it, a line each. Raises what `bundle.make` raises."""
    machine = platform.machine()
    entries, layers = list[dict[str, object]](), dict[str, Path]()
    for name, (python, glibc) in DEBIANS.items():
        facts = Facts.of(python, machine, glibc)
        made = bundle.make(wheel, facts)
        layers |= {layer.name: layer for layer in made}
        entries.append(
            {
                "python": python,
                "glibc": glibc,
                "machine": machine,
                "compiled": facts.is_compiled_here,
                "layers": [layer.name for layer in made],
            }
        )
        yield f"{name}: Python {python}, glibc {glibc}, {machine}"
    write(target, entries, layers)
    yield f"{target}: {target.stat().st_size / 1e6:.1f} MB"


def write(target: Path, entries: Sequence[Mapping[str, object]], layers: Mapping[str, Path]) -> None:
    """The file from its manifest and its layers, the same bytes for the same content."""
    work = target.with_name(f".{target.name}.new")
    with (
        work.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        manifest = json.dumps(entries, indent=2).encode()
        member = tarfile.TarInfo("manifest.json")
        member.size = len(manifest)
        archive.addfile(member, io.BytesIO(manifest))
        for name, layer in sorted(layers.items()):
            member = tarfile.TarInfo(name)
            member.size = layer.stat().st_size
            with layer.open("rb") as content:
                archive.addfile(member, content)
    work.rename(target)


def find(source: Path, facts: Facts) -> tuple[list[Path], bool]:
    """(layers, whether they hold byte code) for a container like that, unpacked into the host's cache.

    Raises `bundle.Failed` when there are none for it.
    """
    try:
        with tarfile.open(source, "r:gz") as archive:
            manifest = archive.extractfile("manifest.json")
            entries = json.load(manifest) if manifest is not None else []
            for entry in entries:
                if _fits(entry, facts):
                    return [bundle.keep(name, archive.extractfile(name)) for name in entry["layers"]], entry["compiled"]
    except (tarfile.TarError, KeyError, ValueError, OSError) as error:
        raise bundle.Failed(f"{source} is no bundle: {error}") from error
    known = ", ".join(f"{entry['python']} on {entry['machine']}" for entry in entries)
    raise bundle.Failed(
        f"{source} holds nothing for Python {facts.python[0]}.{facts.python[1]} on {facts.machine} (it has: {known})"
    )


def _fits(entry: dict[str, object], facts: Facts) -> bool:
    """The very Python, and a C library that is not older."""
    known = Facts.of(str(entry["python"]), str(entry["machine"]), str(entry["glibc"]))
    return (known.python, known.machine) == (facts.python, facts.machine) and known.glibc <= facts.glibc
