"""Expand and contract: neighbouring versions of the program on one database, with real processes of both."""

import ast
import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config

from certagent.collector import migrations
from certagent.collector.sql.database import REVISION, open_writer, read_version, writing
from certagent.collector.sql.revisions import SchemaVersion, objection_to
from certagent.commands.store import go_back
from certagent.config import load_collector
from tests.collector.process import Collector, eventually, running

ROOT = Path(__file__).parents[2]
NEXT = f"{int(REVISION) + 1:04}"
VERSIONS = Path(migrations.__file__).parent / "versions"
RULE_SINCE = "0012"
MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "{next}"
down_revision = "{present}"


def upgrade() -> None:
    {change}
    {says}
"""
MAIN = "from certagent.entry import main; main()"
ADDS = 'op.add_column("agents", sa.Column("shelf", sa.String(length=16), nullable=False, server_default=""))'
TAKES_AWAY = 'op.drop_table("audit_repeats")'
TAKES_PRESENCE = 'op.drop_column("collectors", "policy")'
TAKES_LEASES = 'op.drop_table("leases")'
EXPANDS = "op.execute(\"UPDATE alembic_version SET as_of = 'NEXT'\")".replace("NEXT", NEXT)
CONTRACTS = "op.execute(\"UPDATE alembic_version SET as_of = 'NEXT', tolerates = 'NEXT'\")".replace("NEXT", NEXT)
TAKING = ("drop_", "alter_", "rename_", "batch_alter_")


def next_program(folder: Path, change: str, says: str) -> Path:
    """The code of a next version, with one more migration; answers the folder to import it from."""
    tree = folder / "next"
    shutil.copytree(ROOT / "certagent", tree / "certagent", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "policies", tree / "policies")
    text = MIGRATION.format(next=NEXT, present=REVISION, change=change, says=says)
    versions = tree / "certagent" / "collector" / "migrations" / "versions"
    (versions / f"v{NEXT}_next.py").write_text(text)
    database = tree / "certagent" / "collector" / "sql" / "database.py"
    database.write_text(database.read_text().replace(f'REVISION = "{REVISION}"', f'REVISION = "{NEXT}"'))
    return tree


def migrate(url: str, folder: Path, change: str, says: str) -> None:
    """As the next version does when it starts."""
    tree = next_program(folder, change, says)
    with writing(url) as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(tree / "certagent" / "collector" / "migrations"))
        command.upgrade(config, "head")


async def start_failing(collector: Collector) -> tuple[int, list[str]]:
    """Its exit status, and the lines that it wrote, when it does not come up."""
    words = (sys.executable, "-c", MAIN, "collector", "--config", str(collector.folder / "collector.toml"))
    done = await asyncio.to_thread(subprocess.run, words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr.strip().splitlines()


async def readiness(collector: Collector) -> tuple[int, str]:
    """Status and text."""
    async with collector.session(None) as session, session.get("/readyz") as response:
        return response.status, await response.text()


async def becomes(collector: Collector, status: int) -> str:
    """The text, once the status is that one."""

    async def has_become() -> str | None:
        seen, text = await readiness(collector)
        return text if seen == status else None

    return str(await eventually(has_become))


@asynccontextmanager
async def running_next(folder: Path, url: str, tree: Path) -> AsyncIterator[Collector]:
    """A collector of the next version."""
    collector = Collector(folder, store=url)
    collector.promote()
    await collector.start(PYTHONPATH=str(tree), PYTHONSAFEPATH="1")
    try:
        await eventually(collector.is_up, within=60)
        yield collector
    finally:
        await collector.stop()


def folders(parent: Path) -> tuple[Path, Path]:
    """Of two collectors."""
    both = parent / "present", parent / "newer"
    for folder in both:
        folder.mkdir()
    return both


@pytest.mark.slow
@pytest.mark.servers
async def test_neighbouring_versions_run_together_and_the_older_one_may_come_back(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The newer one migrates beneath the older one: both are ready and take reports; then the newer one is gone, and
    the older one starts again."""
    url = request.getfixturevalue("postgresql").new_database()
    (present, newer), tree = folders(tmp_path), next_program(tmp_path, ADDS, EXPANDS)
    async with running(present, store=url) as one:
        await becomes(one, 200)
        async with running_next(newer, url, tree) as other:
            assert read_version(url) == SchemaVersion(NEXT, RULE_SINCE)
            await becomes(other, 200)
            await asyncio.sleep(6)  # the older one has looked
            assert await readiness(one) == (200, "ok\n")
            for collector in (one, other):
                await collector.report(collector.cast.gateway.watch())
        await one.stop()
        await one.start()
        await eventually(one.is_up)
        await becomes(one, 200)
        await one.report(one.cast.traefik.watch())
        assert read_version(url) == SchemaVersion(NEXT, RULE_SINCE)


@pytest.mark.slow
async def test_the_present_program_works_on_a_schema_that_only_grew(tmp_path: Path, url: str) -> None:
    """Nothing is migrated back, nothing is lost; a backup of it is one of the present schema."""
    open_writer(url).dispose()
    migrate(url, tmp_path, ADDS, EXPANDS)
    async with running(tmp_path, store=url, is_warm=True) as collector:
        await becomes(collector, 200)
        await collector.introduce()
        await asyncio.sleep(6)
        assert await readiness(collector) == (200, "ok\n")
    assert read_version(url).revision == NEXT


@pytest.mark.slow
@pytest.mark.parametrize("says", [CONTRACTS, "pass"], ids=["tolerates nobody", "says nothing"])
async def test_the_present_program_does_not_start_on_a_schema_that_shrank(tmp_path: Path, url: str, says: str) -> None:
    """One sentence, exit status 2, and nothing is changed."""
    open_writer(url).dispose()
    collector = Collector(tmp_path, store=url)
    collector.promote()
    migrate(url, tmp_path, TAKES_AWAY, says)
    before = read_version(url)
    status, lines = await start_failing(collector)
    assert (status, len(lines)) == (2, 1), lines
    tolerated = f", which supports no version before schema {NEXT}" if says == CONTRACTS else ""
    assert (
        f"has the schema '{NEXT}' of a newer certagent{tolerated}; this version supports schemas up to {REVISION}"
        in lines[0]
    )
    assert read_version(url) == before


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.parametrize("change", [TAKES_PRESENCE, TAKES_LEASES], ids=["its presence", "its leases"])
async def test_one_that_runs_is_not_ready_once_a_newer_one_took_something_away(
    tmp_path: Path, request: pytest.FixtureRequest, change: str
) -> None:
    """It says why, and goes on answering, whatever it is that is gone."""
    url = request.getfixturevalue("postgresql").new_database()
    async with running(tmp_path, store=url, is_warm=True) as collector:
        await becomes(collector, 200)
        await asyncio.to_thread(migrate, url, tmp_path, change, CONTRACTS)

        async def says_why() -> bool:
            status, said = await readiness(collector)
            return (
                status == 503
                and f"the database has the schema '{NEXT}' of a newer certagent, which supports no" in said
            )

        await eventually(says_why, within=30)
        await asyncio.sleep(12)
        assert await says_why()
        assert await collector.is_up()


@pytest.mark.parametrize(
    ("version", "objection"),
    [
        (SchemaVersion(), "has no schema, and this certagent needs 0012"),
        (SchemaVersion("0011"), "has the schema '0011', and this certagent needs 0012"),
        (SchemaVersion("0012", "0012"), None),
        (SchemaVersion("0013", "0012"), None),
        (SchemaVersion("0099", "0001"), None),
        (SchemaVersion("0013"), "has the schema '0013' of a newer certagent; this version supports schemas up to 0012"),
        (
            SchemaVersion("0014", "0013"),
            "has the schema '0014' of a newer certagent, which supports no version before schema 0013;"
            " this version supports schemas up to 0012",
        ),
        (SchemaVersion("x", None), "has the schema 'x' of a newer certagent; this version supports schemas up to 0012"),
    ],
)
def test_which_schema_a_program_may_work_on(version: SchemaVersion, objection: str | None) -> None:
    """A program that knows the schemas up to 0012."""
    assert objection_to(version, "0012") == objection


def test_going_back_needs_no_backup_where_the_schema_only_grew(tmp_path: Path) -> None:
    """What was recorded since stays."""
    url = f"sqlite:///{tmp_path}/collector.db"
    file = tmp_path / "collector.toml"
    file.write_text(f'[server]\nlisten = "127.0.0.1:1"\n[store]\nurl = "{url}"\n')
    open_writer(url).dispose()
    migrate(url, tmp_path, ADDS, EXPANDS)
    document: dict[str, Any] = go_back(load_collector(file), REVISION)
    assert document == {"done": "go-back", "schema": NEXT, "file": None, "aside": None}
    assert read_version(url) == SchemaVersion(NEXT, RULE_SINCE)
    with sqlite3.connect(tmp_path / "collector.db") as connection:
        assert connection.execute("SELECT shelf FROM agents").fetchall() == []
    connection.close()


def test_a_migration_that_takes_something_away_says_who_may_stay() -> None:
    """Whatever is more than an addition names `tolerates`; every migration says that it is the schema's newest."""
    for file in sorted(VERSIONS.glob("v*.py")):
        number = file.stem[1:5]
        if number <= RULE_SINCE:
            continue
        (upgrade,) = [node for node in ast.parse(file.read_text()).body if getattr(node, "name", "") == "upgrade"]
        text = ast.unparse(upgrade)
        assert f"as_of = '{number}'" in text, f"{file.name} does not say that it tolerates older programs, or none"
        called = [node.attr for node in ast.walk(upgrade) if isinstance(node, ast.Attribute)]
        if any(name.startswith(TAKING) for name in called):
            assert "tolerates" in text, f"{file.name} takes something away and does not say which programs may stay"
