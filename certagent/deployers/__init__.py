"""Deployers: how a pair gets to a service, and back. One file per kind of service; `deploy` is the procedure."""

from certagent.config import CommandTarget, DeployTarget, NginxTarget, TraefikTarget
from certagent.deployers.command import CommandService
from certagent.deployers.nginx import Nginx
from certagent.deployers.target import Target
from certagent.deployers.traefik import Traefik
from certagent.system.reload_coordinator import ReloadCoordinator

__all__ = ["Target", "make_target"]


def make_target(name: str, settings: DeployTarget, turns: ReloadCoordinator) -> Target:
    """The target that the settings of the certificate called `name` describe; its reloads take their `turns`."""
    match settings:
        case NginxTarget():
            return Nginx(name, settings, turns)
        case TraefikTarget():
            return Traefik(name, settings)
        case CommandTarget():
            return CommandService(name, settings, turns)
