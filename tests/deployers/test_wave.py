"""What is ready together goes live together: one test, one reload; and who is refused is refused alone."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from certagent.config import CommandTarget
from certagent.deployers.command import CommandService
from certagent.deployers.wave import Member
from certagent.domain.deployments import Fault, Generation
from certagent.system.processes import ReloadCoordinator
from tests.certificates import Authority
from tests.fakes.clock import FakeClock

COUNT = 8


class Service:
    """Reads all files at once, and refuses what is written in one of `refused`, or everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refused: list[str] = []
        self.is_broken = False
        self.tests = 0
        self.loaded: list[str] = []

    def file(self, number: int) -> Path:
        """Of one certificate."""
        return self.folder / f"{number}.crt"

    def live(self) -> str:
        """All of them."""
        return "".join(self.file(number).read_text() for number in range(COUNT))


class ItsTarget(CommandService):
    """Of that service."""

    def __init__(self, number: int, service: Service, reloads: ReloadCoordinator) -> None:
        file = service.file(number)
        settings = CommandTarget(certificate=file, key=file.with_suffix(".key"), command=("true",))
        super().__init__(f"n{number}", settings, reloads)
        self._tested = service

    async def validate(self) -> Fault | None:
        """All that is live now."""
        self._tested.tests += 1
        live = self._tested.live()
        is_good = not self._tested.is_broken and not any(refused in live for refused in self._tested.refused)
        return None if is_good else Fault(code="deploy.validate_failed", facts={"said": "[emerg]"})

    async def reload(self) -> Fault | None:
        """As it is on disk."""
        self._tested.loaded.append(self._tested.live())
        return None


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """With an old pair for each."""
    found, private = Service(tmp_path), Authority()
    for number in range(COUNT):
        old = private.issue("web.internal")
        found.file(number).write_bytes(old.chain_pem)
        found.file(number).with_suffix(".key").write_bytes(old.key_pem)
    return found


async def _wave(service: Service) -> tuple[list[Member], list[Generation]]:
    reloads, private = ReloadCoordinator(FakeClock()), Authority()
    generations = [private.issue("web.internal").generation() for _ in range(COUNT)]
    members = [
        Member(ItsTarget(number, service, reloads), generation, FakeClock())
        for number, generation in enumerate(generations)
    ]
    for member, generation in zip(members, generations, strict=True):
        member.target.stage(generation)
    return members, generations


async def test_all_that_is_ready_is_tested_once_and_loaded_once(service: Service) -> None:
    """Eight certificates."""
    members, generations = await _wave(service)
    await asyncio.gather(*(member.go_live() for member in members))
    assert service.tests == 1
    assert service.loaded == ["".join(one.chain_pem.decode() for one in generations)]
    assert [[step.name for step in member.steps] for member in members] == [["promote", "validate", "reload"]] * COUNT


async def test_one_bad_neighbour_fails_alone(service: Service) -> None:
    """It is back before anything is loaded; the seven others are loaded together. Found by halves, not one by one."""
    old = [service.file(number).read_text() for number in range(COUNT)]
    members, generations = await _wave(service)
    service.refused = [generations[5].chain_pem.decode()]
    await asyncio.gather(*(member.go_live() for member in members))
    assert [member.refused is not None for member in members] == [number == 5 for number in range(COUNT)]
    assert members[5].restored is not None
    wanted = [old[5] if number == 5 else one.chain_pem.decode() for number, one in enumerate(generations)]
    assert service.loaded == ["".join(wanted)]
    assert service.tests <= 2 + 6  # all, none, and two in each of three halvings


async def test_a_configuration_that_is_broken_anyway_is_nobodys_fault(service: Service) -> None:
    """All are back as they were, and nothing is loaded; two tests say so."""
    before = service.live()
    service.is_broken = True
    members, _ = await _wave(service)
    await asyncio.gather(*(member.go_live() for member in members))
    assert all(member.refused is not None and member.restored is not None for member in members)
    assert (service.live(), service.loaded, service.tests) == (before, [], 2)


async def test_what_cannot_be_written_keeps_nobody_back(service: Service) -> None:
    """A generation that was never staged, say."""
    members, _ = await _wave(service)
    members[0].generation = Authority().issue("web.internal").generation(7)
    await asyncio.gather(*(member.go_live() for member in members))
    assert [member.error is not None for member in members] == [True, *[False] * (COUNT - 1)]
    assert len(service.loaded) == 1


async def test_the_folders_of_a_wave_are_synced_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file's content before its name; then each certificate's own folder, and the one with all the links."""
    synced: list[str] = []
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    members, _ = await _wave(service)
    await asyncio.gather(*(member.go_live() for member in members))
    of_folders = [path for path in synced if not path.endswith(".pem")]
    assert sorted(of_folders) == sorted(
        [str(service.folder)] + [f"{service.folder}/.certagent-n{n}" for n in range(COUNT)]
    )
    assert len(synced) - len(of_folders) == 4 * COUNT  # the new pair, and the one that was there before


async def test_a_disk_that_fails_at_the_end_of_a_wave_is_told_of_all(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What of it is on the disk, nobody knows; nothing is loaded."""
    members, _ = await _wave(service)

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("certagent.system.folder_syncs.os.fsync", fail)
    await asyncio.gather(*(member.go_live() for member in members))
    assert all(isinstance(member.error, OSError) for member in members)
    assert service.loaded == []
