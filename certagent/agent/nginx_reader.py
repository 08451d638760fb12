"""What nginx's configuration says of the pairs and ports that are deployed to: read seldom, for it may be large."""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

from certagent.config import Endpoint, NginxTarget, endpoint_of, split_endpoint
from certagent.domain.deployments import Fault
from certagent.domain.web_servers.nginx_tls import NginxTls, WorkerReader, read_tls
from certagent.system.regular_files import is_there
from certagent.vantage.foreign_files import Reading
from certagent.vantage.kept_readings import KeptReading, Stamp
from certagent.vantage.nginx_config import NGINX, read_nginx


class NginxReader:
    """Reads the configuration when it is asked, and again when a file of it has changed. Blocks."""

    def __init__(self, path: Path = NGINX) -> None:
        self._path = path
        self._kept = KeptReading(_read_tls)
        self._busy = Lock()

    def find_worker(self, settings: NginxTarget) -> WorkerReader | None:
        """Why the workers read that target's pair themselves, where they do."""
        tls, folder = self._read(), str(self._path.parent)
        found = (tls.worker_reader(str(file), folder) for file in (settings.key, settings.certificate))
        return next((one for one in found if one is not None), None)

    def split(self, name: str, endpoints: Sequence[Endpoint]) -> tuple[list[Endpoint], list[Fault]]:
        """(the endpoints that can be looked at as they are configured, what stands in the way of the others)."""
        kept, faults = [], []
        ports = self._read().proxied_ports
        for endpoint in endpoints:
            written = endpoint_of(endpoint)
            place = ports.get(split_endpoint(written.address)[1])
            if place is None or written.proxy_protocol:
                kept.append(endpoint)
            else:
                facts = {"target": name, "endpoint": written.address}
                faults.append(
                    Fault(code="deploy.unproven", facts=facts, file=place.file, line=place.line, text=place.text)
                )
        return kept, faults

    def stamp(self) -> Stamp:
        """What changes when any file of the configuration does."""
        with self._busy:
            return self._kept.stamp(self._path) if is_there(self._path) else ()

    def _read(self) -> NginxTls:
        with self._busy:  # many certificates may ask at once, each from a thread of its own
            return self._kept.read(self._path).value if is_there(self._path) else NginxTls()


def _read_tls(path: Path, before: Callable[[Path], object]) -> Reading[NginxTls]:
    """Kept instead of the whole: a thousand servers are not."""
    reading = read_nginx(path, before)
    return Reading(read_tls(reading.value), reading.unreadable)
