"""nginx: two configured files, tested, reloaded. Neither `nginx -t` nor a reload is evidence; a handshake is."""

from pathlib import Path

from certagent.config import NginxTarget
from certagent.deployers.linked import LinkedPair
from certagent.deployers.programs import attempt
from certagent.deployers.shelf import Ownership
from certagent.domain.deployments import Fault

TEST_SECONDS = 20.0
RELOAD_SECONDS = 30.0

_BOOTED_BY_SYSTEMD = Path("/run/systemd/system")
_TEST = ("nginx", "-t", "-q")
_BY_SYSTEMD = ("systemctl", "reload", "nginx")
_BY_SIGNAL = ("nginx", "-s", "reload")


class Nginx(LinkedPair):
    """A pair of files that nginx reads. Implements `Target`."""

    kind = "nginx"

    def __init__(self, name: str, settings: NginxTarget) -> None:
        super().__init__(name, settings.certificate, settings.key, Ownership(settings.owner, settings.group))
        self.name = f"nginx {settings.certificate}"
        self._reload = _BY_SYSTEMD if _BOOTED_BY_SYSTEMD.is_dir() else _BY_SIGNAL

    async def validate(self) -> Fault | None:
        """`nginx -t` reads the configured paths: what is live, not what is staged."""
        return await attempt(_TEST, TEST_SECONDS, "deploy.validate_failed", "nginx does not accept its configuration")

    async def reload(self) -> Fault | None:
        """Through systemd where it runs the machine, else by nginx's own signal."""
        return await attempt(self._reload, RELOAD_SECONDS, "deploy.reload_failed", "nginx was not reloaded")
