"""What a release is built for: a Debian on a kind of machine."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """One Debian on one kind of machine, and what a wheel has to fit there."""

    debian: int
    python: str
    glibc: str
    architecture: str
    """As dpkg calls it."""
    machine: str
    """As `uname -m` calls it, and the wheels' tags."""

    @property
    def name(self) -> str:
        """As it is in file names: `debian-12-amd64`."""
        return f"debian-{self.debian}-{self.architecture}"

    @property
    def tags(self) -> list[str]:
        """The platforms whose wheels run there, the newest C library first."""
        newest, oldest = int(self.glibc.partition(".")[2]), 17  # 2.17 is manylinux2014
        tags = [f"manylinux_2_{minor}_{self.machine}" for minor in range(newest, oldest - 1, -1)]
        return [*tags, f"manylinux2014_{self.machine}"]

    def lock(self, tree: Path) -> Path:
        """The file with its pinned wheels, in that source tree."""
        return tree / "deploy" / "release" / "locks" / f"{self.name}.txt"


_DEBIANS = ((12, "3.11", "2.36"), (13, "3.13", "2.41"))
_MACHINES = (("amd64", "x86_64"), ("arm64", "aarch64"))

TARGETS = {
    target.name: target
    for target in (
        Target(debian, python, glibc, architecture, machine)
        for architecture, machine in _MACHINES
        for debian, python, glibc in _DEBIANS
    )
}
