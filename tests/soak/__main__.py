"""The soak as a command. Exit status 0 only if there is nothing to complain of; the seed is printed either way."""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from deploy.lab import places
from deploy.story import witness
from tests.e2e import fleet
from tests.soak import ground, meter, mishaps, plan
from tests.soak.injector import Entry
from tests.soak.judge import judge
from tests.soak.prober import Probe
from tests.soak.record import Record

_METERED_EVERY = 15.0
_SETTLED_WITHIN = 240.0

_Line = TypeVar("_Line")


def main() -> int:
    """Bring the fleet up where it is not, soak it, judge, print, keep."""
    arguments = _arguments()
    if not fleet.is_up():
        fleet.bring_up()
    with ground.prepared(arguments.collectors):
        record = soak(arguments.seed, 60 * arguments.minutes, arguments.collectors)
        complaints = judge(record)  # and kept, before the fleet is made as it was: it may not get there
        keep(arguments.out, arguments.seed, arguments.minutes, record, complaints)
    told = summary(arguments, record, complaints)
    if arguments.results is not None:
        arguments.results.mkdir(exist_ok=True)
        several = "-two-collectors" if arguments.collectors > 1 else ""
        path = arguments.results / f"{told['date']}-seed-{arguments.seed}-{arguments.minutes:g}-minutes{several}.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")
    print(f"soak: {msgspec.json.encode(told).decode()}")
    for complaint in complaints:
        print(f"soak: {complaint}")
    print(f"soak: {'FAILED' if complaints else 'passed'} (seed {arguments.seed}); all of it is in {arguments.out}")
    return 4 if complaints else 0


def soak(seed: int, seconds: float, collectors: int = 1) -> Record:
    """Trouble the fleet, and write down what becomes of it. It is green before, and should be so after."""
    steps = plan.make(seed, seconds, collectors)
    print(f"soak: seed {seed}, {len(steps)} troubles in {seconds / 60:g} minutes", flush=True)
    before = ground.spools()
    samples = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plan").write_bytes(msgspec.json.encode(steps))
        began_at = time.time()
        with _process("prober", folder / "probes"):
            with _process("injector", folder / "plan", folder / "journal") as injector:
                while injector.poll() is None:
                    samples += meter.read()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        injector.wait(_METERED_EVERY)
            trouble = _settle()
            ended_at = time.time()
        after = ground.spools()
        return Record(
            began_at=began_at,
            ended_at=ended_at,
            journal=_read(folder / "journal", Entry),
            probes=_read(folder / "probes", Probe),
            samples=samples,
            mishaps=mishaps.read(began_at),
            interrupted=mishaps.read_interrupted(began_at),
            reports=_reports(before, after),
            incidents=[witness.collector(f"/v1/incidents/{one['id']}") for one in witness.items("/v1/incidents")],
            numbered={agent: (before[agent][0], after[agent][0]) for agent in after},
            dead={agent: after[agent][1] - before[agent][1] for agent in after},
            trouble=trouble,
        )


def keep(out: Path, seed: int, minutes: float, record: Record, complaints: list[str]) -> None:
    """Everything, for whoever looks for the reason."""
    out.parent.mkdir(parents=True, exist_ok=True)
    document = {"seed": seed, "minutes": minutes, "complaints": complaints, "record": record}
    out.write_bytes(msgspec.json.format(msgspec.json.encode(document)))


def summary(arguments: argparse.Namespace, record: Record, complaints: list[str]) -> dict[str, Any]:
    """What it came to, for the repository."""
    processes = {(one.node, one.unit, one.pid) for one in record.samples}
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime(record.began_at)),
        "seed": arguments.seed,
        "minutes": arguments.minutes,
        "collectors": arguments.collectors,
        "troubles": dict(sorted(Counter(one.way for one in record.journal if one.event == "ended").items())),
        "looks_by_openssl": len(record.probes),
        "reports_stored": len(record.reports),
        "incidents_opened": sum(
            one["kind"] in ("opened", "reopened") and datetime.fromisoformat(one["at"]).timestamp() >= record.began_at
            for incident in record.incidents
            for one in incident["transitions"]
        ),
        "processes": dict(sorted(Counter(f"{unit} on {node}" for node, unit, _ in processes).items())),
        "most_mib": round(max(one.kibibytes for one in record.samples) / 1024, 1),
        "complaints": complaints,
    }


@contextlib.contextmanager
def _process(module: str, *words: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", f"tests.soak.{module}", *map(str, words)])
    try:
        yield process
    finally:
        process.terminate()
        process.wait(180)


def _settle() -> str | None:
    """Wait until everything is as it should be; else what is not."""
    try:
        fleet.wait_until_green(_SETTLED_WITHIN)
        fleet.until("nothing waits to be reported", 60, ground.nothing_waits)
    except (AssertionError, witness.Unseen) as trouble:
        return str(trouble)
    return None


def _reports(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> list[dict[str, Any]]:
    """Those of the soak, as the collector has them."""
    bounds = {agent: (before[agent][0], after[agent][0]) for agent in after}
    stored = (one for one in witness.items("/v1/reports") if one["agent"] in bounds)
    return [one for one in stored if bounds[one["agent"]][0] < one["sequence"] <= bounds[one["agent"]][1]]


def _read(path: Path, kind: type[_Line]) -> list[_Line]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [msgspec.json.decode(line, type=kind) for line in lines]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/soak/run", description="The fleet under a random schedule of faults.")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--collectors", type=int, choices=(1, 2), default=1, help="two: on one PostgreSQL")
    parser.add_argument("--results", type=Path, help="a folder for what it came to")
    parser.add_argument("--out", type=Path, default=places.cache() / "soak.json", help="where all of it is kept")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
