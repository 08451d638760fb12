"""Run as a program: promotes a generation again and again, killed one step of the file system later each time.

`python -m tests.deployers.killed SCENARIO`: SCENARIO is a JSON file of `Scenario`. For every step a copy of its folder
is made, and a child of this process dies in it (SIGKILL) just before that step. Prints the number of copies.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from certagent.config import CommandTarget, DeployTarget, HaproxyTarget, TraefikTarget
from certagent.deployers.command import CommandService
from certagent.deployers.deploy import make_target
from certagent.deployers.wave import Member
from certagent.domain.deployments import Fault, Generation
from certagent.system.processes import ReloadCoordinator
from tests.deployers.reloads import RELOADS
from tests.fakes.clock import FakeClock

STEPS = ("rename", "symlink", "mkdir", "unlink", "rmdir", "chmod", "fchmod", "pwrite", "ftruncate")


class Scenario(msgspec.Struct):
    """`folder` holds what was there before; `kind` is "linked", "haproxy", "traefik" or "wave"; `generations` go live
    one by one, those of a wave by three."""

    folder: Path
    copies: Path
    kind: str
    generations: list[Generation]


def settings(kind: str, folder: Path) -> DeployTarget:
    """The same target, in whichever copy."""
    if kind == "traefik":
        return TraefikTarget(dynamic=folder / "dynamic")
    if kind == "haproxy":
        return HaproxyTarget(certificate=folder / "ssl" / "web.pem")
    return CommandTarget(certificate=folder / "ssl" / "web.crt", key=folder / "ssl" / "web.key")


def deploy(scenario: Scenario, folder: Path) -> None:
    """The file part of a deployment of each generation; of a wave, the next of them for three at once."""
    if scenario.kind == "wave":
        asyncio.run(deploy_wave(scenario, folder))
        return
    target = make_target("web", settings(scenario.kind, folder), RELOADS)
    for generation in scenario.generations:
        target.stage(generation)
        target.promote(generation)
        target.settle(generation)


WAVE = ("one", "two", "picked")
REFUSED = WAVE[-1]
"""Whose newest generation the service does not accept."""


class Picky(CommandService):
    """Of a service that reads all those files, and refuses one certificate."""

    def __init__(
        self, name: str, settings: CommandTarget, reloads: ReloadCoordinator, files: list[Path], refused: str
    ) -> None:
        super().__init__(name, settings, reloads)
        self._all = files
        self._refused = refused

    async def validate(self) -> Fault | None:
        """As `nginx -t` reads all that is live."""
        live = "".join(file.read_text() for file in self._all)
        return Fault(code="deploy.validate_failed") if self._refused in live else None


async def deploy_wave(scenario: Scenario, folder: Path) -> None:
    """One generation after the other, each for all three at once; the very last one is refused."""
    refused, reloads = scenario.generations[-1].chain_pem.decode(), ReloadCoordinator(FakeClock())
    paths = {name: folder / "ssl" / name for name in WAVE}
    live = [path.with_suffix(".crt") for path in paths.values()]
    for number in (1, 2):
        members = []
        for name, generation in zip(WAVE, scenario.generations[3 * number - 3 : 3 * number], strict=True):
            path = paths[name]
            command = CommandTarget(
                certificate=path.with_suffix(".crt"), key=path.with_suffix(".key"), command=("true",)
            )
            generation = msgspec.structs.replace(generation, number=number)
            members.append(Member(Picky(name, command, reloads, live, refused), generation, FakeClock()))
            members[-1].target.stage(generation)
        await asyncio.gather(*(member.go_live() for member in members))
        for member in members:
            if member.refused is None and member.generation is not None:
                member.target.settle(member.generation)


def die_before(step: int) -> None:
    """Have this process killed when it changes the file system for that many times."""
    left = step

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    look, change = os.open, counted(os.open)

    def open_(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        """To look changes nothing."""
        changes = flags & os.O_PATH == 0 and flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR) != 0
        return int((change if changes else look)(path, flags, *arguments, **options))

    os.open = open_
    os.fsync = counted(spare_the_disk)


def spare_the_disk(_: int) -> None:
    """A killed process loses nothing that it had written; only a machine does."""


def die_at_every_step(folder: Path, copies: Path, act: Callable[[Path], None]) -> int:
    """Have `act` done to a copy of the folder by a child that dies one step later each time, until a child gets
    through; answers how many died. The copies keep links, those of one inode too."""
    step = 0
    while True:
        copy = copies / str(step)
        subprocess.run(["cp", "-a", folder, copy], check=True)
        child = os.fork()
        if child == 0:
            die_before(step)
            act(copy)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            return step
        step += 1


def main() -> None:
    """Print how many died."""
    scenario = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Scenario, dec_hook=lambda kind, it: kind(it))
    print(die_at_every_step(scenario.folder, scenario.copies, lambda copy: deploy(scenario, copy)))


if __name__ == "__main__":
    main()
