"""Deployers: how a pair gets to a service, and back. One file per kind of service; `deploy` is the procedure."""

from certagent.config import CommandTarget, DeployTarget, NginxTarget, TraefikTarget
from certagent.deployers.command import Command
from certagent.deployers.nginx import Nginx
from certagent.deployers.target import Target
from certagent.deployers.traefik import Traefik

__all__ = ["Target", "make_target"]


def make_target(name: str, settings: DeployTarget) -> Target:
    """The target that the settings of the certificate called `name` describe."""
    match settings:
        case NginxTarget():
            return Nginx(name, settings)
        case TraefikTarget():
            return Traefik(name, settings)
        case CommandTarget():
            return Command(name, settings)
