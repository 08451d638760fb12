"""The web servers of this node as their files have them. Observations; never raises.

What cannot be read is left out, and noted: the rehearsal decides, and this only explains it.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

import msgspec

from certagent.domain.observations import Unreadable, WebServerObservation
from certagent.domain.web_servers import nginx, traefik_routing
from certagent.domain.web_servers.traefik import Configuration
from certagent.system.regular_files import is_there
from certagent.vantage.foreign_files import Reading, read_foreign
from certagent.vantage.nginx_config import NGINX, read_nginx
from certagent.vantage.traefik_api import render
from certagent.vantage.traefik_config import read_traefik
from certagent.vantage.traefik_files import TRAEFIK, decisive_paths, find_static

Stamp = tuple[tuple[str, int, int], ...]
T = TypeVar("T")


class _Kept(Generic[T]):
    """What `reader` made of a configuration, until one of the files changes that it is told of before they are read."""

    def __init__(self, reader: Callable[[Path, Callable[[Path], object]], Reading[T]]) -> None:
        self._reader = reader
        self._stamp: Stamp = ()
        self._reading: Reading[T] | None = None
        self._unreadable: tuple[Unreadable, ...] = ()

    def read(self, begin: Path) -> Reading[T]:
        """The configuration that begins at that file."""
        if self._reading is None or not self._is_current(begin):
            self._reading = self._read(begin)
        return self._reading

    def unreadable(self, begin: Path) -> tuple[Unreadable, ...]:
        """What of it cannot be read. Of the rest nothing is kept: a thousand servers are not needed for this."""
        if not self._is_current(begin):
            self._reading = None
            self._read(begin)
        return self._unreadable

    def _is_current(self, begin: Path) -> bool:
        known = [Path(path) for path, _, _ in self._stamp]
        return known[:1] == [begin] and self._stamp == _stamp(known)

    def _read(self, begin: Path) -> Reading[T]:
        seen = {begin: _stamp([begin])}  # before it is read: what changes meanwhile is read again
        reading = self._reader(begin, lambda path: seen.setdefault(path, _stamp([path])))
        self._stamp = tuple(one for stamps in seen.values() for one in stamps)
        self._unreadable = reading.unreadable
        return reading


class WebServerConfigs:
    """Reads again only what has changed. `nginx_path`, `traefik_paths`: where the configurations begin."""

    def __init__(self, nginx_path: Path = NGINX, traefik_paths: tuple[Path, ...] = TRAEFIK) -> None:
        self._nginx_path = nginx_path
        self._traefik_paths = traefik_paths
        self._nginx = _Kept(read_nginx)
        self._traefik = _Kept(_read_traefik)
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
            judged.append(read_foreign(static, lambda _notes: _judge_traefik(configuration, name), None).value)
        return tuple(observation for observation in judged if observation is not None)

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


def _judge_traefik(reading: Reading[Configuration], name: str) -> WebServerObservation | None:
    """What is named and not defined may be defined in what could not be read: then nothing is claimed of it."""
    configuration = reading.value if reading.value.is_rendered() else render(reading.value)
    observation = traefik_routing.judge(configuration, name)
    if observation is None or not reading.unreadable:
        return observation
    causes = tuple(cause for cause in observation.causes if cause.code != "deploy.dangling_reference")
    return msgspec.structs.replace(observation, causes=causes)


def _stamp(paths: Iterable[Path]) -> Stamp:
    """What changes when any of the files does, or when one comes or goes in any of the folders."""
    stamps = []
    for path in dict.fromkeys(paths):
        try:
            status = path.stat()
        except (OSError, ValueError):
            stamps.append((str(path), 0, 0))
        else:
            stamps.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(stamps)
