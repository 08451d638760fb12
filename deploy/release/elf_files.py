"""The native code in a folder: is it of that machine, does that C library have what it needs, which packages too?"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from deploy.release.revision import Failed
from deploy.release.targets import Target

_MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}
_OF_LIBC = (
    "libc",
    "libm",
    "libpthread",
    "libdl",
    "librt",
    "libutil",
    "libresolv",
    "ld-linux-x86-64",
    "ld-linux-aarch64",
)
_PACKAGES = {
    **dict.fromkeys(_OF_LIBC, "libc6"),
    "libgcc_s": "libgcc-s1",
    "libstdc++": "libstdc++6",
    "libz": "zlib1g",
}
"""The beginning of a library's name -> the Debian package that has it."""
_GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)")


@dataclass(frozen=True)
class NativeCode:
    """What a file says that it is for."""

    machine: str
    needed: frozenset[str]
    glibc: tuple[int, int]


def check(folder: Path, target: Target) -> set[str]:
    """The Debian packages whose libraries are needed. Raises `Failed` for a file that cannot be loaded there."""
    files = {path: _read(path) for path in list_native(folder)}
    if not files:
        raise Failed(f"{target.name}: there is no native code in {folder}")
    bundled = {path.name for path in files}
    libc = tuple(map(int, target.glibc.split(".")))
    packages = set()
    for path, code in files.items():
        place = f"{target.name}: {path.relative_to(folder)}"
        if code.machine != _MACHINES[target.machine]:
            raise Failed(f"{place} is for {code.machine}")
        if code.glibc > libc:
            raise Failed(f"{place} needs glibc {code.glibc[0]}.{code.glibc[1]}")
        for library in code.needed - bundled:
            package = _PACKAGES.get(library.partition(".so")[0])
            if package is None:
                raise Failed(f"{place} needs {library}, of no known package")
            packages.add(package)
    return packages


def list_native(folder: Path) -> list[Path]:
    """All files with native code, in order."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and _has_magic(path)]


def _has_magic(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _read(path: Path) -> NativeCode:
    with path.open("rb") as file:
        elf = ELFFile(file)
        versions = max(_versions(elf), default=(2, 0))
        return NativeCode(str(elf.header.e_machine), frozenset(_needed(elf)), versions)


def _needed(elf: ELFFile) -> Iterator[str]:
    for section in elf.iter_sections():
        if isinstance(section, DynamicSection):
            for tag in section.iter_tags("DT_NEEDED"):
                yield str(tag.needed)  # type: ignore[attr-defined] # pyelftools sets it by the tag's kind


def _versions(elf: ELFFile) -> Iterator[tuple[int, int]]:
    for section in elf.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for _, versions in section.iter_versions():
                for version in versions:
                    if found := _GLIBC.match(str(version.name)):
                        yield int(found[1]), int(found[2])
