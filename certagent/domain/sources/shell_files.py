"""Shell scripts of a tree: the entry. Pure."""

from certagent.domain.sources.shell_commands import Commands
from certagent.domain.sources.shell_loops import LOOPS
from certagent.domain.sources.shell_state import Shell, ShellRun, TooMuchError
from certagent.domain.sources.shell_syntax import ShellScript
from certagent.domain.sources.shell_table import PROGRAMS
from certagent.domain.sources.virtual_files import ONCE
from certagent.domain.sources.writes import Note, Value


def follow_script(
    run: ShellRun,
    script: ShellScript,
    *,
    node: str | None = None,
    args: tuple[Value, ...] | None = None,
    once: bool = False,
) -> Note | None:
    """Follow a script to its end; what it writes is in the run's files. A note where it had to be given up. `once`:
    nothing runs it again on the same node."""
    shell = Shell(run, script, node)
    shell.args = args
    shell.guards = (ONCE,) if once else ()
    try:
        Commands(run, PROGRAMS, LOOPS).follow(shell)
    except (TooMuchError, RecursionError) as error:
        reason = str(error) if isinstance(error, TooMuchError) else "it is nested too deeply"
        return Note(script.place(0), reason)
    row = script.lost_row()
    return Note(script.place(row), "its syntax is not understood from this line on") if row is not None else None
