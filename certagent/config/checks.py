"""What the types of the settings cannot say. Looks at files' presence and modes, never at the network."""

import ipaddress
import re
from pathlib import Path

from certagent.config.errors import ConfigurationError, split_endpoint
from certagent.config.settings import AgentSettings, CertificateSection, CollectorSettings, TraefikTarget
from certagent.config.solvers import check_shared_ports, check_solver

__all__ = ["ConfigurationError", "check_agent", "check_collector", "read_token", "split_endpoint"]


def read_token(path: Path, configuration: Path) -> str:
    """The agent's token. Refused if anyone but its owner can read it."""
    if not path.is_file():
        raise ConfigurationError(configuration, f"collector.token_file: {path} does not exist")
    if path.stat().st_mode & 0o077:
        raise ConfigurationError(configuration, f"collector.token_file: {path} can be read by others; chmod 600 it")
    token = path.read_text(encoding="utf-8").strip()
    if not token:
        raise ConfigurationError(configuration, f"collector.token_file: {path} is empty")
    return token


def check_agent(path: Path, settings: AgentSettings) -> None:
    """Raise `ConfigurationError` for what the types cannot say: files that are missing, names used twice."""
    if not settings.authority.directory.startswith("https://"):
        raise ConfigurationError(path, "authority.directory: must be an https URL")
    if not settings.authority.root.is_file():
        raise ConfigurationError(path, f"authority.root: {settings.authority.root} does not exist")
    _check_addresses(path, "authority.addresses", settings.authority.addresses)
    _check_addresses(path, "dns.nameservers", settings.dns.nameservers)
    if settings.agent.policy is not None and not settings.agent.policy.is_file():
        raise ConfigurationError(path, f"agent.policy: {settings.agent.policy} does not exist")
    if settings.collector is not None:
        _check_addresses(path, "collector.addresses", settings.collector.addresses)
        read_token(settings.collector.token_file, path)
    names = [certificate.name for certificate in settings.certificate]
    for index, certificate in enumerate(settings.certificate):
        where = f"certificate[{index}]"
        if names.index(certificate.name) != index:
            raise ConfigurationError(path, f"{where}.name: {certificate.name!r} is used twice")
        _check_certificate(path, where, certificate)
    check_shared_ports(path, settings.certificate)


def _check_certificate(path: Path, where: str, certificate: CertificateSection) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", certificate.name):
        raise ConfigurationError(path, f"{where}.name: letters, digits, dot, dash and underscore only")
    if not certificate.identifiers:
        raise ConfigurationError(path, f"{where}.identifiers: is empty")
    if certificate.manage and certificate.solver is None:
        raise ConfigurationError(path, f"{where}.solver: is missing (who answers the challenge?)")
    check_solver(path, where, certificate)
    for index, target in enumerate(certificate.deploy):
        _check_endpoints(path, f"{where}.deploy[{index}].prove", target.prove)
        if isinstance(target, TraefikTarget) and not target.dynamic.is_dir():
            raise ConfigurationError(path, f"{where}.deploy[{index}].dynamic: {target.dynamic} is no directory")


def check_collector(path: Path, settings: CollectorSettings) -> None:
    """Raise `ConfigurationError`, likewise."""
    _check_endpoints(path, "server.listen", (settings.server.listen,))
    host, _ = split_endpoint(settings.server.listen)
    has_pair = settings.server.certificate is not None and settings.server.key is not None
    if not has_pair and not _is_loopback(host):
        raise ConfigurationError(path, "server.certificate: TLS is needed except on loopback")
    for index, channel in enumerate(settings.channel):
        if not channel.url.startswith(("http://", "https://")):
            raise ConfigurationError(path, f"channel[{index}].url: must be an http or https URL")
    if settings.policy is not None and not settings.policy.is_file():
        raise ConfigurationError(path, f"policy: {settings.policy} does not exist")


def _check_addresses(path: Path, where: str, addresses: tuple[str, ...]) -> None:
    for address in addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise ConfigurationError(path, f"{where}: {address!r} is not an IP address") from error


def _check_endpoints(path: Path, where: str, endpoints: tuple[str, ...]) -> None:
    for endpoint in endpoints:
        try:
            split_endpoint(endpoint)
        except ValueError as error:
            raise ConfigurationError(path, f"{where}: {error}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
