"""The web servers of this node as their files have them. Observations; never raises.

What cannot be read is left out: the rehearsal decides, and this only explains it.
"""

from collections.abc import Iterable
from pathlib import Path
from threading import Lock

from certagent.domain.observations import WebServerObservation
from certagent.domain.web_servers import nginx, traefik
from certagent.domain.web_servers.nginx import Directive
from certagent.domain.web_servers.traefik import Configuration
from certagent.vantage.nginx_config import NGINX, decisive_paths, read_nginx
from certagent.vantage.traefik_config import TRAEFIK, dynamic_files, read_traefik

Stamp = tuple[tuple[str, int, int], ...]


class WebServerConfigs:
    """Reads again only what has changed. `nginx_path`, `traefik_paths`: where the configurations begin."""

    def __init__(self, nginx_path: Path = NGINX, traefik_paths: tuple[Path, ...] = TRAEFIK) -> None:
        self._nginx_path = nginx_path
        self._traefik_paths = traefik_paths
        self._nginx: tuple[Stamp, tuple[Directive, ...]] = ((), ())
        self._traefik: tuple[Stamp, Configuration | None] = ((), None)
        self._reading = Lock()

    def observe(self, name: str) -> tuple[WebServerObservation, ...]:
        """What each web server here does on port 80 with the challenge of `name`."""
        observations = []
        with self._reading:  # who comes second finds it read
            directives = self._read_nginx() if self._nginx_path.is_file() else None
            configuration = self._read_traefik()
        if directives is not None:
            observations.append(nginx.judge(directives, name.lower()))
        if configuration is not None:
            observations.append(traefik.judge(configuration, name.lower()))
        return tuple(observation for observation in observations if observation is not None)

    def _read_nginx(self) -> tuple[Directive, ...]:
        stamp, directives = self._nginx
        if not stamp or stamp != _stamp(Path(path) for path, _, _ in stamp):
            stamp = _stamp(decisive_paths(self._nginx_path))  # before it is read: what changes meanwhile is read again
            directives = read_nginx(self._nginx_path)
            self._nginx = (stamp, directives)
        return directives

    def _read_traefik(self) -> Configuration | None:
        static = next((path for path in self._traefik_paths if path.is_file()), None)
        if static is None:
            return None
        below = (path for path in static.parent.iterdir() if path.is_dir())
        stamp = _stamp([static, *dynamic_files(static), static.parent, *below])
        if stamp != self._traefik[0]:
            self._traefik = (stamp, read_traefik(static))
        return self._traefik[1]


def _stamp(paths: Iterable[Path]) -> Stamp:
    """What changes when any of the files does, or when one comes or goes in any of the folders."""
    stamps = []
    for path in dict.fromkeys(paths):
        try:
            status = path.stat()
        except OSError:
            stamps.append((str(path), 0, 0))
        else:
            stamps.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(stamps)
