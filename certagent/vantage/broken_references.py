"""What the web servers' files of this node name, and nobody defines: files, routers' parts. Reads only; never raises.

Where the files alone do not say it (templates, TOML in Traefik's folder) nothing is claimed.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from certagent.domain.observations import Misconfiguration, Place
from certagent.domain.web_servers import traefik
from certagent.domain.web_servers.nginx import Directive
from certagent.vantage.tls_services import NGINX, TRAEFIK
from certagent.vantage.web_server_config import dynamic_files, place_in, read_nginx, read_traefik

_CODE = "deploy.dangling_reference"
_FILES = ("ssl_certificate", "ssl_certificate_key", "ssl_trusted_certificate", "ssl_client_certificate", "ssl_dhparam")
_NOT_FILES = ("$", "data:", "engine:")
_MISSING = "[Errno 2]"


def find_configurations(nginx: Path = NGINX, traefik_paths: tuple[Path, ...] = TRAEFIK) -> tuple[Path, ...]:
    """Where the configurations of this node's web servers begin."""
    static = next((path for path in traefik_paths if path.is_file()), None)
    return tuple(path for path in (nginx if nginx.is_file() else None, static) if path is not None)


def find_dangling(nginx: Path = NGINX, traefik_paths: tuple[Path, ...] = TRAEFIK) -> tuple[Misconfiguration, ...]:
    """Each of them, with the line that names it."""
    found: list[Misconfiguration] = []
    for path in find_configurations(nginx, traefik_paths):
        found += _in_nginx(path) if path == nginx else _in_traefik(path)
    return tuple(found)


def _in_nginx(path: Path) -> Iterator[Misconfiguration]:
    yield from _missing_includes(path)
    for directive in _walk(read_nginx(path)):
        if directive.name in _FILES and directive.args and not directive.args[0].startswith(_NOT_FILES):
            file = path.parent / directive.args[0]
            if "$" not in directive.args[0] and not _may_exist(file):
                what = f"nginx is to read {file} ({directive.name}), and that does not exist"
                yield Misconfiguration(code=_CODE, place=directive.place, what=what)


def _missing_includes(path: Path) -> Iterator[Misconfiguration]:
    import crossplane

    try:
        errors: Sequence[dict[str, Any]] = crossplane.parse(str(path), combine=True, catch_errors=True)["errors"]
    except (OSError, ValueError):
        return
    texts: dict[str, list[str]] = {}
    for error in errors:
        file, line, said = error["file"], error["line"], str(error["error"])
        if said.startswith(_MISSING):
            place = place_in(file, line, texts) if line else Place(file=file)
            missing = said.partition(": ")[2].strip("'")
            what = f"nginx is to include {missing}, and that does not exist"
            yield Misconfiguration(
                code=_CODE, place=place, what=what if line else f"{file} is a link that leads nowhere"
            )


def _in_traefik(static: Path) -> Iterator[Misconfiguration]:
    files = dynamic_files(static)
    folders = {file.parent for file in files}
    if all(map(_is_plain, files)) and not _has_toml(folders):
        yield from traefik.dangling(read_traefik(static))


def _has_toml(folders: set[Path]) -> bool:
    return any(True for folder in folders for _ in folder.glob("**/*.toml"))


def _is_plain(file: Path) -> bool:
    """No template: that defines what only Traefik sees."""
    try:
        return b"{{" not in file.read_bytes()
    except OSError:
        return False


def _walk(directives: Sequence[Directive]) -> Iterator[Directive]:
    for directive in directives:
        yield directive
        yield from _walk(directive.block)


def _may_exist(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:
        return True
