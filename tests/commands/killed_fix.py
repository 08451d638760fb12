"""Run as a program: applies a fix again and again, killed one step of the file system later each time.

`python -m tests.commands.killed_fix FOLDER COPIES`: as `tests.deployers.killed`, for the hosts file in FOLDER/etc.
"""

import sys
from pathlib import Path

from certagent.commands.fix import apply_plan
from certagent.state import State
from tests.commands.resolver import plan_for
from tests.deployers.killed import die_at_every_step


def main() -> None:
    """Print how many died."""
    print(die_at_every_step(Path(sys.argv[1]), Path(sys.argv[2]), apply))


def apply(copy: Path) -> None:
    """The fix, to that copy."""
    plan = plan_for(copy)
    apply_plan(State(copy / "state").fixes(), plan, plan.after(), None, copy)


if __name__ == "__main__":
    main()
