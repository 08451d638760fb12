"""The bench as a command: every part, one table, kept as JSON and Markdown. A part that fails is named, not hidden."""

import argparse
import os
import platform
import sys
import time
import traceback
from pathlib import Path

import msgspec

from deploy.lab.processes import run
from tests.bench import (
    campaign,
    commands,
    crowds,
    detection,
    fleet_rounds,
    idle,
    memory,
    renewals,
    several,
    sizes,
    watched,
)
from tests.bench.rows import Part, Row, as_document, as_markdown
from tests.e2e import fleet

PARTS: dict[str, Part] = {
    "idle": idle.measure,
    "memory": memory.measure,
    "watched": watched.measure,
    "commands": commands.measure,
    "detection": detection.measure,
    "renewals": renewals.measure,
    "crowds": crowds.measure,
    "rounds": fleet_rounds.measure,
    "several": several.measure,
    "sizes": sizes.measure,
    "ups": sizes.measure_ups,
    "cold": sizes.measure_cold_up,
    "campaign": campaign.measure,
}
_WITHOUT_LAB = {"commands", "crowds", "rounds", "several", "sizes", "cold", "campaign"}
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Measure, print, keep."""
    arguments = _arguments()
    chosen = [name for name in PARTS if name in (arguments.part or PARTS)]
    if not set(chosen) <= _WITHOUT_LAB:
        if not fleet.is_up():
            fleet.bring_up()
        fleet.wait_until_green(120)
    rows: list[Row] = []
    failed: list[str] = []
    for name in chosen:
        began_at = time.monotonic()
        try:
            for row in PARTS[name]():
                rows.append(row)
                print(f"bench: {row.what}: {row.ours:.4g} {row.unit}", flush=True)
        except Exception as error:
            traceback.print_exc()
            failed.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")
        print(f"bench: {name} took {time.monotonic() - began_at:.0f} s", flush=True)
    keep(rows, failed, arguments.out)
    return 1 if failed else 0


def keep(rows: list[Row], failed: list[str], out: Path) -> None:
    """Both forms, beside each other."""
    out.mkdir(parents=True, exist_ok=True)
    date = time.strftime("%Y-%m-%d", time.gmtime())
    machine = _machine()
    text = as_markdown(rows, f"Bench of {date}", machine, failed)
    document = {"date": date, "machine": machine, "failed": failed, "rows": [as_document(row) for row in rows]}
    (out / f"{date}.md").write_text(text)
    (out / f"{date}.json").write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    print(text)


def _machine() -> list[str]:
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())  # fmt: skip
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024**2
    return [
        f"{os.cpu_count()} x {model}, {memory:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}",
        f"load of the machine at the end: {os.getloadavg()[1]:.1f} over five minutes",
        f"certagent {run(['git', 'describe', '--always', '--dirty'], cwd=Path(__file__).parent).strip()}",
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/bench/run", description="Every budget, measured, beside the peers.")
    parser.add_argument("--part", action="append", choices=PARTS, help="this part alone; may be given several times")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for the table")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
