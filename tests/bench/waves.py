"""A hundred due at once, by what it costs: processor time, waits for the disk, tests of nginx's configuration."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.lab.containers import run_inside
from deploy.lab.fleet import find
from tests.bench.rows import Row, against, of
from tests.e2e.many.gateway import reloads, sh, wait_until_proven, with_many

COUNT = 100
RUNS = 3
_FOLDER = "/var/lib/counted"
_DROP_IN = "/etc/systemd/system/certagent-agent.service.d/counted.conf"
_START = f"""[Service]
ExecStart=
ExecStart=/usr/bin/python3 -IS {_FOLDER}/counted.py {_FOLDER}/counts agent --config /etc/certagent/agent.toml
"""
_PID = "$(systemctl show -p MainPID --value certagent-agent)"
_PROCESSES = f"""
pid={_PID}
for one in $pid $(cat /proc/$pid/task/*/children); do sed 's/.*) //' /proc/$one/stat; done
"""  # its own children may still be there: the one that speaks ACME is, for a while
_TICK = os.sysconf("SC_CLK_TCK")


def forget_freed_inodes() -> None:
    """ext4 gives nobody the inode of a file that was deleted within the last minute, and searches."""
    os.sync()
    time.sleep(61)


def measure(acme_cpu: float) -> Iterator[Row]:
    """`acme_cpu`: seconds of processor time that the ACME part alone takes for as many."""
    cpu = [_run(is_counted=False)["cpu"] / COUNT for _ in range(RUNS)]
    inside = "from the start of the agent until all are proven; the agent and all that it started, not nginx"
    row = of(f"{COUNT} due at once, processor time of one", "s", cpu, inside)
    yield against(
        row,
        "our own ACME part",
        [acme_cpu / COUNT],
        "the orders alone, in a warm agent; with the process that speaks ACME",
        2.5,
    )
    counted = [_run(is_counted=True) for _ in range(RUNS)]
    fsyncs = [one["fsync"] / COUNT for one in counted]
    inside = "the pair that was there before is taken over as well; counted in the agent"
    yield of(f"{COUNT} due at once, fsyncs of one", "", fsyncs, inside, bar=12)
    tests = [one["nginx -t -q"] / one["reloads"] for one in counted]
    inside = "beside nginx's own reading as it reloads; counted in the agent, by the journal of nginx's unit"
    yield of("tests of nginx's configuration for one reload", "", tests, inside, bar=1)


def _run(*, is_counted: bool) -> dict[str, Any]:
    if not is_counted:
        forget_freed_inodes()
    with _counting(is_counted):
        sh("systemctl stop certagent-agent")
        with with_many(COUNT):
            before = len(reloads())
            sh("systemctl restart certagent-agent")
            wait_until_proven(COUNT, 200)
            ticks = sum(sum(map(int, line.split()[11:15])) for line in sh(_PROCESSES).splitlines())
            found = {"cpu": ticks / _TICK, "reloads": len(reloads()) - before}
            return found | (_counts() if is_counted else {})


def _counts() -> dict[str, int]:
    sh(f"rm -f {_FOLDER}/counts; kill -USR1 {_PID}")
    time.sleep(0.5)
    return dict(json.loads(sh(f"cat {_FOLDER}/counts")))


@contextmanager
def _counting(is_counted: bool) -> Iterator[None]:
    if not is_counted:
        yield
        return
    node = find("lxc101")
    files = {f"{_FOLDER}/counted.py": Path(__file__).with_name("counted.py").read_text(), _DROP_IN: _START}
    for path, text in files.items():
        run_inside(node, "sh", "-euc", "mkdir -p ${1%/*}; cat >$1", "sh", path, text=text)
    sh("systemctl daemon-reload")
    try:
        yield
    finally:
        sh(f"rm -r {_FOLDER} {_DROP_IN}; systemctl daemon-reload; systemctl restart certagent-agent")
