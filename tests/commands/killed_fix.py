"""Run as a program: applies a fix again and again, killed one step of the file system later each time.

`python -m tests.commands.killed_fix FOLDER COPIES`: as `tests.deployers.killed`, for the hosts file in FOLDER/etc.
"""

import os
import shutil
import sys
from pathlib import Path

from certagent.commands.fix import apply_plan
from certagent.state import State
from tests.commands.resolver import plan_for
from tests.deployers.killed import die_before


def main() -> None:
    """Until a child gets through."""
    folder, copies = Path(sys.argv[1]), Path(sys.argv[2])
    step = 0
    while True:
        copy = copies / str(step)
        shutil.copytree(folder, copy)
        if (folder / "linked").exists():
            os.link(copy / "etc/hosts", copy / "another-name")
        child = os.fork()
        if child == 0:
            die_before(step)
            plan = plan_for(copy)
            apply_plan(State(copy / "state").fixes(), plan, plan.after(), None, copy)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            break
        step += 1
    print(step)


if __name__ == "__main__":
    main()
