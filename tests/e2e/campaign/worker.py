"""Judges cases on one lab: reads them from standard input, one JSON document a line, and writes rows the same way.

Run by `tests.e2e.campaign`, with the name of its lab in the environment. The lab is up before the first case.
"""

import contextlib
import sys
import time
from collections.abc import Iterator

import msgspec

from deploy.lab import faults
from deploy.story import witness
from tests.e2e.campaign import judges, stale
from tests.e2e.campaign.cases import Case
from tests.e2e.campaign.rows import Row


def main() -> None:
    """Until standard input ends."""
    for line in sys.stdin:
        case = msgspec.json.decode(line, type=Case)
        for row in stale.judge(case) if case.kind == "stale" else judge(case):
            sys.stdout.buffer.write(msgspec.json.encode(row) + b"\n")
        sys.stdout.buffer.write(b"\n")  # an empty line: the case is done
        sys.stdout.flush()


def judge(case: Case) -> list[Row]:
    """Both verdicts on every identifier of the case."""
    with broken_by(case):
        began = time.monotonic()
        orders = judges.ask_authority(case.identifiers)
        judges.renew_authority()
        judgements = judges.ask_certagent(case.identifiers)
        seconds = time.monotonic() - began
        return [_row(case, one, orders[one], judgements[one], seconds) for one in case.identifiers]


@contextlib.contextmanager
def broken_by(case: Case) -> Iterator[None]:
    """The faults in, and out again in reverse, whatever happens."""
    put_in: list[str] = []
    try:
        for name in case.faults:
            put_in.append(name)
            faults.put_in(name)
        yield
    finally:
        for name in reversed(put_in):
            faults.take_out(name)


def _row(case: Case, identifier: str, order: dict[str, object], judgement: dict[str, object], seconds: float) -> Row:
    found = msgspec.convert(judgement["findings"], list[dict[str, object]])
    first = found[0] if found else {}
    problem = msgspec.convert(order.get("problem") or {}, dict[str, object])
    return Row(
        case=case.name(),
        kind=case.kind,
        identifier=identifier,
        issued=bool(order["issued"]),
        problem=str(problem.get("detail")) if problem else None,
        verdict=str(judgement["verdict"]),
        code=str(first["code"]) if first else None,
        culprit=msgspec.convert(first.get("culprit") or {}, dict[str, object]),
        explanation=str(first.get("explanation", "")),
        expected=judges.expected_culprits(case.faults, identifier),
        seconds=round(seconds, 1),
    )


if __name__ == "__main__":
    witness.lab("up", show=True)
    main()
