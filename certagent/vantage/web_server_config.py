"""The web servers of this node as their files have them. Observations; never raises.

What cannot be read is left out, and noted: the rehearsal decides, and this only explains it.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from threading import Lock

import msgspec

from certagent.domain.observations import Unreadable, WebServerObservation
from certagent.domain.web_servers import nginx, traefik_routing
from certagent.domain.web_servers.traefik import Configuration
from certagent.system.regular_files import is_there
from certagent.vantage.foreign_files import Reading, read_foreign
from certagent.vantage.kept_readings import KeptReading
from certagent.vantage.nginx_config import NGINX, read_nginx
from certagent.vantage.traefik_api import render
from certagent.vantage.traefik_config import read_traefik
from certagent.vantage.traefik_files import TRAEFIK, decisive_paths, find_static


class WebServerConfigs:
    """Reads again only what has changed. `nginx_path`, `traefik_paths`: where the configurations begin."""

    def __init__(self, nginx_path: Path = NGINX, traefik_paths: tuple[Path, ...] = TRAEFIK) -> None:
        self._nginx_path = nginx_path
        self._traefik_paths = traefik_paths
        self._nginx = KeptReading(read_nginx)
        self._traefik = KeptReading(_read_traefik)
        self._one_at_a_time = Lock()

    def observe(self, name: str, address: str | None = None) -> tuple[WebServerObservation, ...]:
        """What each web server here may do on port 80 of `address` (None: not known) with the challenge of `name`."""
        name = name.lower()
        nginx_path, static = self._find()
        judged: list[WebServerObservation | None] = []
        with self._one_at_a_time:  # who comes second finds it read
            directives = self._nginx.read(nginx_path) if nginx_path is not None else None
            configuration = self._traefik.read(static) if static is not None else None
        if nginx_path is not None and directives is not None:
            nothing: tuple[WebServerObservation, ...] = ()
            judged += read_foreign(
                nginx_path, lambda _notes: nginx.judge(directives.value, name, address=address), nothing
            ).value
        if static is not None and configuration is not None:
            judged.append(read_foreign(static, lambda _notes: _judge_traefik(configuration, name, address), None).value)
        return tuple(observation for observation in judged if observation is not None)

    def have_changed_since(self, moment: datetime) -> bool:
        """Whether any file changed after that moment of what was read last."""
        with self._one_at_a_time:
            return max(self._nginx.changed_at(), self._traefik.changed_at()) >= moment.timestamp()

    def unreadable(self) -> tuple[Unreadable, ...]:
        """What cannot be read of all their files."""
        nginx_path, static = self._find()
        with self._one_at_a_time:
            of_nginx = self._nginx.unreadable(nginx_path) if nginx_path is not None else ()
            of_traefik = self._traefik.unreadable(static) if static is not None else ()
        return (*of_nginx, *of_traefik)

    def _find(self) -> tuple[Path | None, Path | None]:
        """Where the configurations begin, where there are any."""
        nginx_path = self._nginx_path if is_there(self._nginx_path) else None
        return nginx_path, find_static(self._traefik_paths)


def _read_traefik(begin: Path, before: Callable[[Path], object]) -> Reading[Configuration]:
    paths: Reading[list[Path]] = read_foreign(begin, lambda _notes: decisive_paths(begin), [])
    for path in paths.value:
        before(path)
    return read_traefik(begin)


def _judge_traefik(reading: Reading[Configuration], name: str, address: str | None) -> WebServerObservation | None:
    """What is named and not defined may be defined in what could not be read: then nothing is claimed of it."""
    configuration = reading.value if reading.value.is_rendered() else render(reading.value)
    observation = traefik_routing.judge(configuration, name, address)
    if observation is None or not reading.unreadable:
        return observation
    causes = tuple(cause for cause in observation.causes if cause.code != "deploy.dangling_reference")
    return msgspec.structs.replace(observation, causes=causes)
