"""Configuration: TOML to frozen settings. Every mistake is one sentence with its line and key; nothing is guessed.

The keys are the contract that the README prints. Whoever reads a file here gets a `ConfigurationError` that can be
shown to a person as it is, and ends with exit status 2.
"""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from certagent.config.checks import (
    check_agent,
    check_collector,
    check_secrets,
    read_binding,
    read_credential,
    read_private,
    read_token,
)
from certagent.config.settings import (
    AgentSection,
    AgentSettings,
    AuthoritySection,
    BindingSection,
    CertificateSection,
    ChannelSection,
    CollectorSection,
    CollectorSettings,
    ConfigurationError,
    DnsSection,
    HeartbeatSection,
    HookSolver,
    ListenerSolver,
    Rfc2136Solver,
    RootPaths,
    ServerSection,
    SourcesSection,
    StatelessSolver,
    StoreSection,
    VantageSection,
    WebhookSection,
    WebrootSolver,
)
from certagent.config.solver_checks import read_secret
from certagent.config.targets import (
    CommandTarget,
    DeployTarget,
    Endpoint,
    HaproxyTarget,
    NginxTarget,
    ProofEndpoint,
    Starttls,
    TraefikTarget,
    endpoint_of,
)
from certagent.domain.identifiers import is_wildcard
from certagent.domain.server_address import split_endpoint
from certagent.domain.spans import Duration, read_span

__all__ = [
    "DEFAULT_AGENT_PATH",
    "DEFAULT_COLLECTOR_PATH",
    "ConfigurationError",
    "AgentSection",
    "AgentSettings",
    "AuthoritySection",
    "BindingSection",
    "CertificateSection",
    "ChannelSection",
    "CollectorSection",
    "CollectorSettings",
    "CommandTarget",
    "DeployTarget",
    "DnsSection",
    "Endpoint",
    "HaproxyTarget",
    "HeartbeatSection",
    "HookSolver",
    "ListenerSolver",
    "NginxTarget",
    "ProofEndpoint",
    "Rfc2136Solver",
    "RootPaths",
    "ServerSection",
    "SourcesSection",
    "Starttls",
    "StatelessSolver",
    "StoreSection",
    "TraefikTarget",
    "VantageSection",
    "WebhookSection",
    "WebrootSolver",
    "endpoint_of",
    "load_agent",
    "load_collector",
    "read_credential",
    "read_private",
    "read_binding",
    "read_secret",
    "read_token",
    "split_endpoint",
]

DEFAULT_AGENT_PATH = Path("/etc/certagent/agent.toml")
DEFAULT_COLLECTOR_PATH = Path("/etc/certagent/collector.toml")


def load_agent(path: Path, *, with_secrets: bool = True) -> AgentSettings:
    """The settings of `agent.toml`, with everything checked that can be checked without the network; the files with
    secrets, which not everybody may read, only on demand."""
    text = read_text(path, "certagent init --write")
    with located(path, text):
        settings = _convert(path, text, AgentSettings)
        check_agent(path, settings)
        if with_secrets:
            check_secrets(path, settings)
    return _with_watched_wildcards(settings)


def _with_watched_wildcards(settings: AgentSettings) -> AgentSettings:
    """Whoever renews a watched wildcard proves it by dns-01, whatever is (not) said: no other challenge can."""
    certificates = tuple(
        msgspec.structs.replace(certificate, challenge="dns-01")
        if any(map(is_wildcard, certificate.identifiers))
        else certificate
        for certificate in settings.certificate
    )
    return msgspec.structs.replace(settings, certificate=certificates)


def load_collector(path: Path) -> CollectorSettings:
    """The settings of `collector.toml`, checked likewise."""
    text = read_text(path, "certagent init --collector --write")
    with located(path, text):
        settings = _convert(path, text, CollectorSettings)
        check_collector(path, settings)
    return settings


_AnySettings = TypeVar("_AnySettings", AgentSettings, CollectorSettings)


def _convert(path: Path, text: str, kind: type[_AnySettings]) -> _AnySettings:
    document = parse(path, text)
    try:
        return msgspec.convert(document, kind, strict=True, dec_hook=_decode)
    except msgspec.ValidationError as error:
        from certagent.config.mistakes import in_words

        raise ConfigurationError(path, in_words(str(error), kind, document)) from error


@contextmanager
def located(path: Path, text: str) -> Iterator[None]:
    """A mistake that is raised within gets its line; what finds it is imported for a mistake only."""
    try:
        yield
    except ConfigurationError as error:
        from certagent.config.mistakes import line_of

        line = line_of(text, error.message) if error.path == path and error.line is None else error.line
        raise ConfigurationError(error.path, error.message, line) from error


def read_text(path: Path, maker: str = "") -> str:
    """The file's text; `maker` is the command that would make the file, if there is one."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigurationError(path, "does not exist" + (f"; `{maker}` makes one" if maker else "")) from error
    except OSError as error:
        raise ConfigurationError(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(path, f"is not TOML: {error}") from error


def parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(path, f"is not TOML: {error}") from error


def _decode(kind: type, value: Any) -> Any:
    """The types of the settings that TOML does not have."""
    if kind is Duration:
        return read_span(kind, value)
    if kind is RootPaths:
        return _decode_roots(value)
    if kind is not Path or not isinstance(value, str):
        raise ValueError(f"expected a path, got {value!r}")
    return Path(value)


def _decode_roots(value: Any) -> RootPaths:
    paths = [value] if isinstance(value, str) else value
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise ValueError(f"expected a path or an array of paths, got {value!r}")
    return RootPaths(paths)
