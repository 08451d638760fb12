"""The campaign as a command. Exit status 0 only if its target is met (see `is_met`)."""

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from queue import Empty, Queue

import msgspec

from deploy.lab import faults, places
from tests.e2e.campaign import stale
from tests.e2e.campaign.cases import EVERY_IDENTIFIER, Case, composed, singles
from tests.e2e.campaign.rows import Row, StaleRow, as_markdown, place, summary

SEED = 20261124


def main() -> int:
    """Plan, judge, print, keep."""
    arguments = arguments_of()
    cases = plan(arguments)
    print(f"campaign: seed {arguments.seed}, {len(cases)} cases, {arguments.labs} lab(s)", flush=True)
    rows, held, failed = judge_all(cases, arguments.labs, _tell)
    figures = summary(rows, held)
    print(json.dumps(figures, indent=2))
    keep(arguments.out, arguments.seed, figures, rows, held)
    if failed:
        print(f"campaign: not all cases were judged: {'; '.join(failed)}", file=sys.stderr)
        return 1
    return 0 if is_met(figures) else 4


def plan(arguments: argparse.Namespace) -> list[Case]:
    """The cases, in an order that the seed decides."""
    names = arguments.fault or faults.names()
    chosen = random.Random(arguments.seed)  # noqa: S311 -- repeatable, not secret
    single = singles(chosen.sample(names, min(arguments.singles, len(names))))
    pairs = composed(faults.names(), arguments.composed, arguments.seed)
    held = chosen.sample(stale.cases(), min(arguments.stale, len(stale.cases())))
    return [Case(kind="healthy", identifiers=EVERY_IDENTIFIER), *single, *pairs, *held]


def is_met(figures: dict[str, float]) -> bool:
    """The target of the campaign; a stale connection has to be named exactly where the CA goes by one."""
    return (
        figures["agreement"] >= 0.99
        and figures["false_blocks"] == 0
        and (figures["culprit_accuracy"] or 0) >= 0.95
        and figures["stale_named"] == figures["stale_used"]
    )


def judge_all(
    cases: Sequence[Case], labs: int, tell: Callable[[Row | StaleRow], None]
) -> tuple[list[Row], list[StaleRow], list[str]]:
    """Every case once, on as many labs at a time; the last list says where a worker ended before its time."""
    waiting: Queue[Case] = Queue()
    for case in cases:
        waiting.put(case)
    found: list[Row | StaleRow] = []
    failed: list[str] = []
    threads = [
        threading.Thread(target=_work, args=(number, waiting, found, failed, tell), name=f"lab {number}")
        for number in range(labs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, StaleRow)], failed


def keep(out: Path, seed: int, figures: dict[str, object], rows: Sequence[Row], held: Sequence[StaleRow]) -> None:
    """The table, as an artefact: Markdown for people, JSON for programs."""
    out.parent.mkdir(parents=True, exist_ok=True)
    heading = f"Campaign of {time.strftime('%Y-%m-%d', time.gmtime())}, seed {seed}"
    ordered = sorted(rows, key=lambda row: (row.kind, row.case, row.identifier))
    out.write_text(as_markdown(figures, ordered, held, heading))
    document = {"seed": seed, "figures": figures, "rows": rows, "stale": held}
    out.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(document)))
    print(f"campaign: the table is {out}")


def _work(
    number: int,
    waiting: "Queue[Case]",
    found: list[Row | StaleRow],
    failed: list[str],
    tell: Callable[[Row | StaleRow], None],
) -> None:
    """One lab's worker, fed until nothing waits."""
    name = places.NAME if number == 0 else f"{places.NAME}-{number}"
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.campaign.worker"],
        env={**os.environ, "CERTAGENT_LAB_NAME": name},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        while not failed:
            case = waiting.get_nowait()
            worker.stdin.write(msgspec.json.encode(case) + b"\n")
            worker.stdin.flush()
            kind: type[Row | StaleRow] = StaleRow if case.kind == "stale" else Row
            for line in _until_empty(worker.stdout):
                row = msgspec.json.decode(line, type=kind)
                found.append(row)
                tell(row)
    except Empty:
        pass
    except (OSError, EOFError):
        failed.append(f"{name} ended at {case.kind} {case.name()}")
    finally:
        worker.stdin.close()
        worker.wait()


def _until_empty(lines: Iterable[bytes]) -> Iterable[bytes]:
    for line in lines:
        if line == b"\n":
            return
        yield line
    raise EOFError


def _tell(row: Row | StaleRow) -> None:
    if isinstance(row, StaleRow):
        print(f"stale {row.case:5} {row.identifier}: named {row.named}, used {row.used}", flush=True)
        return
    mark = "" if row.named is None else f", culprit {'right' if row.named else 'WRONG'}"
    issued = "issued" if row.issued else "refused"
    print(
        f"{row.outcome:11} {row.case} / {row.identifier}: {issued}, {row.verdict} {row.code} {place(row.culprit)}{mark}"
        f" ({row.seconds} s)",
        flush=True,
    )


def arguments_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's, or those words'."""
    parser = argparse.ArgumentParser(prog="tests/e2e/campaign/run", description="The CA's verdict against certagent's.")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--singles", type=int, default=1000, help="how many faults alone (default: all)")
    parser.add_argument("--composed", type=int, default=100, help="how many compositions of two faults")
    parser.add_argument("--stale", type=int, default=1000, help="how many cases with stale connections (default: all)")
    parser.add_argument("--fault", action="append", help="this one alone; may be given several times")
    parser.add_argument("--labs", type=int, default=1, help="labs side by side")
    parser.add_argument("--out", type=Path, default=places.cache() / "campaign.md", help="where the table is kept")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
