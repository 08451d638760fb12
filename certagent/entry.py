"""The program's entry. What stays for years starts without the library of the command line, what ends at once does
without collecting garbage.
"""

import gc
import sys
from pathlib import Path

from certagent.system.garbage import nothing_to_collect


def main() -> None:
    """`certagent` with its words; ends the process with their exit status."""
    match sys.argv[1:]:
        case ["agent", "--config", path]:  # as its unit has it
            _run_agent(Path(path))
        case _:
            _run_command()


def _run_agent(path: Path) -> None:
    from certagent.commands import UnableError
    from certagent.commands.agent import run_agent
    from certagent.config import ConfigurationError

    try:
        run_agent(path)
    except (ConfigurationError, UnableError) as error:
        print(f"certagent: {error}", file=sys.stderr)
        sys.exit(error.status)


def _run_command() -> None:
    with nothing_to_collect():
        from certagent import cli
    try:
        cli.main()
    finally:
        gc.freeze()  # the end of the process is near


if __name__ == "__main__":
    main()
