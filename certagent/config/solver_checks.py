"""Challenge and solver must fit each other, and the identifiers. Looks at the key file's mode and content."""

import base64
import binascii
import os
from collections.abc import Sequence
from pathlib import Path

from certagent.config.settings import (
    CertificateSection,
    ConfigurationError,
    HookSolver,
    ListenerSolver,
    Rfc2136Solver,
    StatelessSolver,
    WebrootSolver,
)
from certagent.config.value_checks import check_endpoints
from certagent.domain.identifiers import is_address, is_wildcard

LONGEST_HOOK_SECONDS = 600

_ANSWERED_BY = {
    "http-01": ("listener", "webroot", "stateless"),
    "tls-alpn-01": ("listener",),
    "dns-01": ("rfc2136", "exec"),
}
_KINDS = {
    ListenerSolver: "listener",
    WebrootSolver: "webroot",
    StatelessSolver: "stateless",
    Rfc2136Solver: "rfc2136",
    HookSolver: "exec",
}


def check_solver(path: Path, where: str, certificate: CertificateSection) -> None:
    """Raise `ConfigurationError` for a solver that cannot answer this certificate's challenge."""
    _check_identifiers(path, where, certificate)
    solver = certificate.solver
    if solver is None:
        return
    kind, able = _KINDS[type(solver)], _ANSWERED_BY[certificate.challenge]
    if kind not in able:
        message = f'{certificate.challenge} needs kind = "{"|".join(able)}", not "{kind}"'
        raise ConfigurationError(path, f"{where}.solver: {message}")
    match solver:
        case Rfc2136Solver():
            _check_rfc2136(path, f"{where}.solver", solver, certificate.identifiers)
        case ListenerSolver():
            _check_listener(path, f"{where}.solver", solver)
        case WebrootSolver():
            _check_webroot(path, f"{where}.solver", solver)
        case HookSolver():
            _check_hook(path, f"{where}.solver", solver)


def check_shared_ports(path: Path, certificates: Sequence[CertificateSection]) -> None:
    """Raise `ConfigurationError` where one port would have to speak plain HTTP and TLS."""
    taken: dict[str, CertificateSection] = {}
    for index, certificate in enumerate(certificates):
        if not isinstance(certificate.solver, ListenerSolver):
            continue
        listen = certificate.solver.listen
        other = taken.setdefault(listen, certificate)
        if other.challenge != certificate.challenge:
            message = f"{listen!r} already answers {other.challenge} for certificate {other.name!r}"
            raise ConfigurationError(path, f"certificate[{index}].solver.listen: {message}")


def check_key_file(path: Path, where: str, certificate: CertificateSection) -> None:
    """Raise `ConfigurationError` for a TSIG key that cannot be used, or that others can read."""
    if isinstance(certificate.solver, Rfc2136Solver):
        _check_secret(path, f"{where}.solver.key_file", certificate.solver.key_file)


def read_secret(path: Path) -> bytes:
    """The TSIG secret in that file. Raises OSError, and ValueError (in words) for what is not base64."""
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        secret = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("is not base64 (the file must contain the secret only)") from error
    if not secret:
        raise ValueError("is empty")
    return secret


def _check_identifiers(path: Path, where: str, certificate: CertificateSection) -> None:
    is_dns = certificate.challenge == "dns-01"
    for identifier in certificate.identifiers:
        if is_wildcard(identifier) and not is_dns and certificate.manage:
            message = f"{identifier!r} is a wildcard, which only dns-01 can prove"
            raise ConfigurationError(path, f"{where}.identifiers: {message}")
        if is_dns and is_address(identifier):
            message = f"{identifier!r} is an address, which dns-01 cannot prove"
            raise ConfigurationError(path, f"{where}.identifiers: {message}")


def _check_listener(path: Path, where: str, solver: ListenerSolver) -> None:
    check_endpoints(path, f"{where}.listen", (solver.listen,))


def _check_webroot(path: Path, where: str, solver: WebrootSolver) -> None:
    if not solver.path.is_dir():
        raise ConfigurationError(path, f"{where}.path: {solver.path} is not a directory")


def _check_hook(path: Path, where: str, solver: HookSolver) -> None:
    if not solver.command:
        raise ConfigurationError(path, f"{where}.command: is empty")
    if not os.access(solver.command[0], os.X_OK) or not Path(solver.command[0]).is_absolute():
        raise ConfigurationError(
            path, f"{where}.command: {solver.command[0]!r} is not an executable with an absolute path"
        )
    if not 0 < solver.timeout <= LONGEST_HOOK_SECONDS:
        raise ConfigurationError(path, f"{where}.timeout: must be between 0 and {LONGEST_HOOK_SECONDS} seconds")


def _check_rfc2136(path: Path, where: str, solver: Rfc2136Solver, identifiers: Sequence[str]) -> None:
    if not is_address(solver.server):
        raise ConfigurationError(path, f"{where}.server: {solver.server!r} is not an IP address")
    if not 0 < solver.port < 65536:
        raise ConfigurationError(path, f"{where}.port: {solver.port} is not a valid port")
    for identifier in identifiers:
        if solver.zone is not None and not _is_below(identifier, solver.zone):
            raise ConfigurationError(path, f"{where}.zone: {identifier!r} is not in the zone {solver.zone!r}")


def _check_secret(path: Path, where: str, key_file: Path) -> None:
    if not key_file.is_file():
        raise ConfigurationError(path, f"{where}: {key_file} does not exist")
    if key_file.stat().st_mode & 0o077:
        raise ConfigurationError(path, f"{where}: {key_file} can be read by others; chmod 600 it")
    try:
        read_secret(key_file)
    except OSError as error:
        raise ConfigurationError(path, f"{where}: {key_file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(path, f"{where}: {key_file} {error}") from error


def _is_below(identifier: str, zone: str) -> bool:
    bare, apex = identifier.lower().removesuffix("."), zone.lower().strip(".")
    return bare == apex or bare.endswith("." + apex)
