"""Any other service: two configured files, and a command that makes the service read them."""

from certagent.config import CommandTarget
from certagent.deployers.linked import LinkedPair
from certagent.deployers.programs import attempt
from certagent.deployers.shelf import Ownership
from certagent.domain.deployments import Fault

COMMAND_SECONDS = 60.0


class Command(LinkedPair):
    """A pair of files and an argument list; an empty one for a service that notices by itself. Implements `Target`."""

    kind = "command"

    def __init__(self, name: str, settings: CommandTarget) -> None:
        super().__init__(name, settings.certificate, settings.key, Ownership(settings.owner, settings.group))
        self.name = f"command {settings.certificate}"
        self._command = settings.command

    async def validate(self) -> Fault | None:
        """Nobody to ask."""
        return None

    async def reload(self) -> Fault | None:
        """Run the command."""
        if not self._command:
            return None
        return await attempt(self._command, COMMAND_SECONDS, "deploy.reload_failed", "the command failed")
