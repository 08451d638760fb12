"""Processes that run without running."""

from datetime import datetime

from certagent.system.procfs import Process, ProcFs
from tests.evidence import NOW


class Running(ProcFs):
    """A machine on which these command lines run, each under its program's name; the rest is this machine's own."""

    def __init__(self, *commands: str, started_at: datetime = NOW) -> None:
        super().__init__()
        self.commands = commands
        self.started_at = started_at

    def processes(self, name: str) -> tuple[Process, ...]:
        """Those of that program."""
        words = (tuple(command.split()) for command in self.commands)
        named = [command for command in words if command[0] == name]
        return tuple(Process(number, name, command, self.started_at) for number, command in enumerate(named))
