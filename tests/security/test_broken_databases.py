"""A database that is damaged, whatever its bytes, or that a newer program wrote: one sentence, never a traceback."""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from certagent.collector.credentials import add_token
from certagent.collector.records import Caller, TokenRole
from certagent.collector.store import open_store
from certagent.domain.policy import Alerting
from certagent.system.clock import SystemClock
from tests.collector.cast import Cast, now
from tests.collector.process import Collector
from tests.evidence import TRAEFIK, shadow
from tests.ports import free_port
from tests.warm import warm_certagent

COMMANDS = (
    ("collector",),
    ("token", "list"),
    ("token", "add", "new"),
    ("token", "revoke", "lxc102"),
    ("user", "list"),
    ("store", "backup", "{folder}/backup.db"),
)
Damage = Callable[[bytes, random.Random], bytes]


def chance_of(seed: object) -> random.Random:
    """The same noise for the same seed."""
    return random.Random(str(seed))  # noqa: S311 - no secret


def _noise(start: float, length: int) -> Damage:
    def damage(whole: bytes, chance: random.Random) -> bytes:
        at = int(len(whole) * start)
        return whole[:at] + chance.randbytes(min(length, len(whole) - at)) + whole[at + length :]

    return damage


def _many_bytes(whole: bytes, chance: random.Random) -> bytes:
    """Two bytes of each page are others."""
    changed = bytearray(whole)
    for page in range(0, len(whole), 4096):
        for _ in range(2):
            changed[page + chance.randrange(4096)] = chance.randrange(256)
    return bytes(changed)


DAMAGE: dict[str, Damage] = {
    "head": _noise(0, 100),
    "head but its first word": lambda whole, chance: whole[:16] + chance.randbytes(84) + whole[100:],
    "first page": _noise(0.0, 4096),
    "schema": lambda whole, chance: whole[:100] + chance.randbytes(3_996) + whole[4_096:],
    "middle": _noise(0.5, 20_000),
    "a third": lambda whole, _: whole[: len(whole) // 3],
    "one byte": lambda whole, _: whole[:1],
    "HTML": lambda _, __: b"<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>\n",
    "zeros": lambda whole, _: bytes(len(whole)),
    "many bytes": _many_bytes,
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with reports, tokens and an incident, in one file."""
    file = tmp_path_factory.mktemp("sound") / "collector.db"
    url = f"sqlite:///{file}"
    for name in ("lxc101", "lxc102", "lxc103"):
        add_token(url, name, TokenRole.AGENT, now())
    asyncio.run(_fill(url))
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    return file


async def _fill(url: str) -> None:
    cast = Cast()
    async with open_store(url, Alerting(), SystemClock()) as store:
        for report in cast.inventories():
            await store.accept(Caller(report.agent, TokenRole.AUTHORITY), [report])
        watched = [cast.authority.watch(shadow(line=number)) for number in range(200)]
        await store.accept(Caller("lxc103", TokenRole.AUTHORITY), watched)


def configured(folder: Path) -> Path:
    """The configuration of a collector whose database is in the folder."""
    configuration = folder / "collector.toml"
    configuration.write_text(
        f'[server]\nlisten = "127.0.0.1:{free_port()}"\n[store]\nurl = "sqlite:///{folder}/collector.db"\n'
    )
    return configuration


def run(folder: Path, words: tuple[str, ...]) -> tuple[int, str]:
    """(exit status, what was said)"""
    filled = [word.format(folder=folder) for word in words]
    done = warm_certagent().run(*filled, "--config", str(configured(folder)), within=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_damaged_database_is_one_sentence(sound: Path, tmp_path: Path, kind: str, words: tuple[str, ...]) -> None:
    """With the file's name and what to do; the collector does not start, and systemd does not start it again."""
    broken = tmp_path / "collector.db"
    broken.write_bytes(DAMAGE[kind](sound.read_bytes(), chance_of(kind)))
    status, said = run(tmp_path, words)
    assert "Traceback" not in said
    if words == ("collector",) or status:
        assert status == 2, said
        sentence = said.strip().splitlines()[-1]
        assert f"the database {broken} is damaged (" in sentence
        assert "certagent store restore FILE" in sentence
        assert len(said.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_bytes_there_is_no_traceback(sound: Path, tmp_path: Path, seed: int) -> None:
    """Noise of any length anywhere."""
    chance = chance_of(seed)
    damage = _noise(chance.random(), chance.choice((1, 40, 1_000, 30_000)))
    (tmp_path / "collector.db").write_bytes(damage(sound.read_bytes(), chance))
    for words in COMMANDS[1:]:
        status, said = run(tmp_path, words)
        assert "Traceback" not in said, said
        assert status in (0, 2), said


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("revision", ["0099", "x"])
def test_a_newer_database_is_one_sentence_and_stays_as_it_is(
    sound: Path, tmp_path: Path, revision: str, words: tuple[str, ...]
) -> None:
    """Neither is it migrated, nor is anything written."""
    newer = tmp_path / "collector.db"
    shutil.copyfile(sound, newer)
    with sqlite3.connect(newer) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()
    status, said = run(tmp_path, words)
    assert (status, len(said.strip().splitlines())) == (2, 1), said
    assert f"the database {newer} has the schema '{revision}' of a newer certagent" in said
    with sqlite3.connect(newer) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (revision,)
    connection.close()


@pytest.mark.slow
def test_a_damaged_backup_is_named_and_the_store_stays_empty(sound: Path, tmp_path: Path) -> None:
    """The file that was given, not the copy that is looked at."""
    backup = tmp_path / "backup.db"
    backup.write_bytes(DAMAGE["a third"](sound.read_bytes(), chance_of(0)))
    status, said = run(tmp_path, ("store", "restore", str(backup)))
    assert status == 2
    assert said.startswith(f"certagent: the database {backup} is damaged (")
    assert "restore another backup" in said
    status, said = run(tmp_path, ("store", "restore", str(sound)))
    assert status == 0, said


def test_the_unit_does_not_start_again_what_ends_with_2() -> None:
    """It would do the same again."""
    unit = Path(__file__).parents[2] / "deploy" / "systemd" / "certagent-collector.service"
    assert "RestartPreventExitStatus=2" in unit.read_text().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.0, 0.3, 0.6])
async def test_a_database_that_breaks_under_a_running_collector_is_said_in_documents(
    collector: Collector, part: float
) -> None:
    """What cannot be answered is 503; no traceback in its log, and whoever starts it again is told what to do."""
    await collector.introduce()
    for number in range(40):
        await collector.report(collector.cast.authority.watch(shadow(line=number)))
    file = collector.folder / "state" / "collector.db"
    (file.parent / "collector.db-wal").write_bytes(b"")
    with file.open("r+b") as opened:
        size = file.stat().st_size
        opened.seek(max(4_096, int(size * part)))
        opened.write(chance_of(part).randbytes(size - opened.tell()))
    for path in ("/v1/reports", "/v1/agents", "/v1/certificates", "/v1/incidents", f"/v1/paths/{TRAEFIK}"):
        status, document = await collector.get(path)
        assert status in (200, 401, 404, 503), (status, document)
    report = collector.cast.traefik.preflight()
    assert (await collector.post("/v1/reports", [report], "lxc102"))[0] in (200, 401, 503)
    await asyncio.sleep(6)
    assert "Traceback" not in collector.log()
    await collector.stop()
    configuration = str(collector.folder / "collector.toml")
    again = await asyncio.to_thread(warm_certagent().run, "collector", "--config", configuration, within=60)
    assert (again.returncode, len(again.stderr.splitlines())) == (2, 1)
    assert f"the database {file} is damaged (" in again.stderr
