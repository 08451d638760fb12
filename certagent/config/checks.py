"""What the types of the settings cannot say. Looks at files' presence and modes, never at the network."""

import importlib.util
import ipaddress
import re
from pathlib import Path
from urllib.parse import urlsplit

from certagent.config.settings import (
    AgentSettings,
    AuthoritySection,
    CertificateSection,
    ChannelSection,
    CollectorSection,
    CollectorSettings,
    ConfigurationError,
)
from certagent.config.solver_checks import check_key_file, check_shared_ports, check_solver
from certagent.config.store_url import flaw_of_store_url
from certagent.config.targets import (
    CommandTarget,
    DeployTarget,
    HaproxyTarget,
    NginxTarget,
    TraefikTarget,
    endpoint_of,
)
from certagent.config.value_checks import check_endpoints, check_identifier, check_paths, check_url
from certagent.domain.orders import Binding
from certagent.domain.server_address import split_address, split_endpoint

_HTTP = ("http://", "https://")

__all__ = [
    "ConfigurationError",
    "check_agent",
    "check_collector",
    "check_secrets",
    "read_binding",
    "read_credential",
    "read_private",
    "read_token",
]


def read_token(path: Path, configuration: Path) -> str:
    """The agent's token. Refused if anyone but its owner can read it."""
    return read_private(path, configuration, "collector.token_file")


def read_private(path: Path, configuration: Path, key: str) -> str:
    """The secret in a file of its own, which `key` of the configuration names. Refused if others can read it."""
    try:
        if not path.is_file():
            raise ConfigurationError(configuration, f"{key}: {path} does not exist")
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(configuration, f"{key}: {path} can be read by others; chmod 600 it")
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(configuration, f"{key}: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(configuration, f"{key}: {path} is not text") from error
    if not secret:
        raise ConfigurationError(configuration, f"{key}: {path} is empty")
    return secret


def read_binding(section: AuthoritySection, configuration: Path) -> Binding | None:
    """What binds the account to another one, if anything. Refused if anyone but its owner can read the key."""
    if section.binding is None:
        return None
    key = read_private(section.binding.key_file, configuration, "authority.binding.key_file").rstrip("=")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", key):
        raise ConfigurationError(
            configuration, f"authority.binding.key_file: {section.binding.key_file} is not base64url"
        )
    return Binding(key_id=section.binding.key_id, hmac_key=key)


def read_credential(section: CollectorSection) -> tuple[dict[str, str], tuple[Path, Path] | None]:
    """(headers, pair): what this node is recognised by at the collector."""
    if section.certificate is not None and section.key is not None:
        return {}, (section.certificate, section.key)
    return {"Authorization": f"Bearer {read_token(section.token_file, section.token_file)}"}, None


def check_agent(path: Path, settings: AgentSettings) -> None:
    """Raise `ConfigurationError` for what the types cannot say: files that are missing, names used twice."""
    check_paths(path, settings)
    if not settings.authority.directory.startswith("https://"):
        raise ConfigurationError(path, "authority.directory: must be an https URL")
    check_url(path, "authority.directory", settings.authority.directory)
    if not settings.authority.root:
        raise ConfigurationError(path, "authority.root: is empty")
    for root in settings.authority.root:
        if not root.is_file():
            raise ConfigurationError(path, f"authority.root: {root} does not exist")
    _check_addresses(path, "authority.addresses", settings.authority.addresses)
    _check_addresses(path, "dns.nameservers", settings.dns.nameservers)
    if settings.agent.policy is not None and not settings.agent.policy.is_file():
        raise ConfigurationError(path, f"agent.policy: {settings.agent.policy} does not exist")
    if settings.collector is not None:
        _check_collector_section(path, settings.collector)
    names = [certificate.name for certificate in settings.certificate]
    for index, certificate in enumerate(settings.certificate):
        where = f"certificate[{index}]"
        if names.index(certificate.name) != index:
            raise ConfigurationError(path, f"{where}.name: {certificate.name!r} is used twice")
        _check_certificate(path, where, certificate)
    check_shared_ports(path, settings.certificate)


def check_secrets(path: Path, settings: AgentSettings) -> None:
    """Raise `ConfigurationError` for a file with a secret that cannot be used. The collector's pair may not be there
    yet: it can be the one that this agent is to get."""
    read_binding(settings.authority, path)
    section = settings.collector
    if section is not None and section.certificate is None:
        read_token(section.token_file, path)
    if section is not None and section.webhook is not None and section.webhook.secret_file is not None:
        read_private(section.webhook.secret_file, path, "collector.webhook.secret_file")
    for index, certificate in enumerate(settings.certificate):
        check_key_file(path, f"certificate[{index}]", certificate)


def _check_collector_section(path: Path, section: CollectorSection) -> None:
    check_url(path, "collector.url", section.url)
    for address in section.addresses:
        try:
            split_address(address)
        except ValueError as error:
            raise ConfigurationError(path, f"collector.addresses: {error}") from error
    if (section.certificate is None) != (section.key is None):
        raise ConfigurationError(path, "collector.certificate: must be set together with collector.key")
    if section.webhook is not None and not section.webhook.url.startswith(_HTTP):
        raise ConfigurationError(path, "collector.webhook.url: must be an http or https URL")


def _check_certificate(path: Path, where: str, certificate: CertificateSection) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", certificate.name):
        raise ConfigurationError(path, f"{where}.name: letters, digits, dot, dash and underscore only")
    if not certificate.identifiers:
        raise ConfigurationError(path, f"{where}.identifiers: is empty")
    for identifier in certificate.identifiers:
        check_identifier(path, f"{where}.identifiers", identifier)
    if certificate.manage and certificate.solver is None:
        raise ConfigurationError(path, f"{where}.solver: is missing (which program answers the challenge?)")
    if certificate.root is not None and certificate.manage:
        raise ConfigurationError(
            path, f"{where}.root: only allowed with `manage = false`; otherwise authority.root is used"
        )
    if certificate.root is not None and not certificate.root.is_file():
        raise ConfigurationError(path, f"{where}.root: {certificate.root} does not exist")
    check_solver(path, where, certificate)
    for index, target in enumerate(certificate.deploy):
        prove = tuple(endpoint_of(endpoint).address for endpoint in target.prove)
        check_endpoints(path, f"{where}.deploy[{index}].prove", prove)
        _check_target(path, f"{where}.deploy[{index}]", target)
    _check_folders(path, where, certificate)


def _check_folders(path: Path, where: str, certificate: CertificateSection) -> None:
    """What is live in a folder is one link of the certificate's, so one target cannot go back without the other; unless
    it is the same pair, which two services read."""
    seen: dict[Path, NginxTarget | HaproxyTarget | CommandTarget] = {}
    for index, target in enumerate(certificate.deploy):
        if isinstance(target, TraefikTarget):
            continue
        other = seen.setdefault(target.certificate.parent.resolve(), target)
        if _files_of(target) != _files_of(other):
            files = f"{target.certificate} and {other.certificate}"
            said = f"{files} belong to one certificate and are in one folder; put each into a separate folder"
            raise ConfigurationError(path, f"{where}.deploy[{index}].certificate: {said}")


def _files_of(target: NginxTarget | HaproxyTarget | CommandTarget) -> dict[str, Path]:
    """The files of a target by their keys: two, or one with both in it."""
    if isinstance(target, HaproxyTarget):
        return {"certificate": target.certificate}
    return {"certificate": target.certificate, "key": target.key}


def _check_target(path: Path, where: str, target: DeployTarget) -> None:
    if target.mode is not None and (target.mode > 0o777 or not target.mode & 0o400):
        raise ConfigurationError(path, f"{where}.mode: {target.mode} is not a valid mode for a key (write it as 0o640)")
    if target.mode is not None and target.mode & 0o007:
        raise ConfigurationError(path, f"{where}.mode: 0o{target.mode:o} would let every user access the key")
    if isinstance(target, TraefikTarget):
        _check_traefik(path, where, target)
    else:
        for key, file in _files_of(target).items():
            if file.is_dir():
                raise ConfigurationError(path, f"{where}.{key}: {file} is a directory, not a file")
    if isinstance(target, CommandTarget) and target.timeout <= 0:
        raise ConfigurationError(path, f"{where}.timeout: must be more than 0 seconds")


def _check_traefik(path: Path, where: str, target: TraefikTarget) -> None:
    if not target.dynamic.is_dir():
        raise ConfigurationError(path, f"{where}.dynamic: {target.dynamic} is not a directory")
    if target.api is not None:
        if urlsplit(target.api).scheme != "http":
            raise ConfigurationError(path, f"{where}.api: must be an http URL (of this container)")
        check_url(path, f"{where}.api", target.api)


def check_collector(path: Path, settings: CollectorSettings) -> None:
    """Raise `ConfigurationError`, likewise."""
    check_paths(path, settings)
    check_endpoints(path, "server.listen", (settings.server.listen,))
    _check_addresses(path, "server.proxy_protocol_from", settings.server.proxy_protocol_from)
    host, _ = split_endpoint(settings.server.listen)
    has_pair = settings.server.certificate is not None and settings.server.key is not None
    if not has_pair and not _is_loopback(host):
        raise ConfigurationError(path, "server.certificate: TLS is needed except on loopback")
    _check_store(path, settings.store.url)
    names = [channel.name for channel in settings.channel]
    if settings.server.client_root is not None and not settings.server.client_root.is_file():
        raise ConfigurationError(path, f"server.client_root: {settings.server.client_root} does not exist")
    for index, channel in enumerate(settings.channel):
        if names.index(channel.name) != index:
            raise ConfigurationError(path, f"channel[{index}].name: {channel.name!r} is used twice")
        _check_channel(path, f"channel[{index}]", channel)
    if settings.heartbeat is not None and not settings.heartbeat.url.startswith(_HTTP):
        raise ConfigurationError(path, "heartbeat.url: must be an http or https URL")
    if settings.policy is not None and not settings.policy.is_file():
        raise ConfigurationError(path, f"policy: {settings.policy} does not exist")


def _check_channel(path: Path, where: str, channel: ChannelSection) -> None:
    if channel.kind == "apprise":
        if importlib.util.find_spec("apprise") is None:
            raise ConfigurationError(path, f"{where}.kind: apprise needs the package certagent[notify]")
    elif not channel.url.startswith(_HTTP):
        raise ConfigurationError(path, f"{where}.url: must be an http or https URL")
    if channel.secret_file is not None:
        if channel.kind != "webhook":
            raise ConfigurationError(path, f"{where}.secret_file: is for webhooks only")
        read_private(channel.secret_file, path, f"{where}.secret_file")


def _check_store(path: Path, url: str) -> None:
    """The URL itself is never repeated: it may hold a password."""
    scheme = url.partition(":")[0]
    if scheme not in {"sqlite", "postgresql"}:
        raise ConfigurationError(path, "store.url: must begin with sqlite:/// or postgresql://")
    if scheme == "postgresql" and importlib.util.find_spec("psycopg") is None:
        raise ConfigurationError(path, "store.url: PostgreSQL needs the package certagent[postgres]")
    flaw = flaw_of_store_url(url)
    if flaw is not None:
        raise ConfigurationError(path, f"store.url: {flaw}")


def _check_addresses(path: Path, where: str, addresses: tuple[str, ...]) -> None:
    for address in addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise ConfigurationError(path, f"{where}: {address!r} is not an IP address") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
