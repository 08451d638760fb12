"""Configuration: TOML to frozen settings. Every mistake is one sentence with its key path; nothing is guessed.

The keys are the contract that the README prints. Whoever reads a file here gets a `ConfigurationError` that can be
shown to a person as it is, and ends with exit status 2.
"""

import re
import tomllib
from fnmatch import fnmatchcase
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
    CommandTarget,
    ConfigurationError,
    DeployTarget,
    DnsSection,
    Endpoint,
    HeartbeatSection,
    HookSolver,
    ListenerSolver,
    NginxTarget,
    ProofEndpoint,
    Rfc2136Solver,
    ServerSection,
    StatelessSolver,
    StoreSection,
    TraefikTarget,
    VantageSection,
    WebhookSection,
    WebrootSolver,
    endpoint_of,
    split_endpoint,
)
from certagent.config.solver_checks import read_secret
from certagent.domain.identifiers import is_wildcard
from certagent.domain.policy import Duration, Policy, overlay, read_policy, read_span

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
    "HeartbeatSection",
    "HookSolver",
    "ListenerSolver",
    "NginxTarget",
    "ProofEndpoint",
    "Rfc2136Solver",
    "ServerSection",
    "StatelessSolver",
    "StoreSection",
    "TraefikTarget",
    "VantageSection",
    "WebhookSection",
    "WebrootSolver",
    "endpoint_of",
    "load_agent",
    "load_collector",
    "load_collector_policy",
    "load_policy",
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
    settings = _load(path, AgentSettings)
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
    settings = _load(path, CollectorSettings)
    check_collector(path, settings)
    return settings


_AnySettings = TypeVar("_AnySettings", AgentSettings, CollectorSettings)


def _load(path: Path, kind: type[_AnySettings]) -> _AnySettings:
    try:
        return msgspec.convert(_read_toml(path), kind, strict=True, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise ConfigurationError(path, _in_words(str(error))) from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(path, f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(path, f"is not TOML: {error}") from error


def _decode(kind: type, value: Any) -> Any:
    """The types of the settings that TOML does not have."""
    if kind is Duration:
        return read_span(kind, value)
    if kind is not Path or not isinstance(value, str):
        raise ValueError(f"expected a path, got {value!r}")
    return Path(value)


def _in_words(message: str) -> str:
    """msgspec's message with its key path in front: ``certificate[0].key: ...``."""
    text, _, location = message.partition(" - at ")
    key_path = location.strip("`").removeprefix("$").removeprefix(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", text)
    if unknown:
        return f"{key_path + '.' if key_path else ''}{unknown[1]}: there is no such key"
    missing = re.fullmatch(r"Object missing required field `(.*)`", text)
    if missing:
        return f"{key_path + '.' if key_path else ''}{missing[1]}: is missing"
    return f"{key_path}: {text[:1].lower()}{text[1:]}"


def load_collector_policy(path: Path, settings: CollectorSettings) -> Policy:
    """The collector's policy; its rules may name only channels that `settings`, read from `path`, have."""
    policy, names = load_policy(settings.policy), [channel.name for channel in settings.channel]
    for name, rule in policy.alerts.items():
        for wanted in rule.to:
            if wanted != "*" and not any(fnmatchcase(channel, wanted) for channel in names):
                raise ConfigurationError(settings.policy or path, f"alerts.{name}.to: there is no channel {wanted!r}")
    return policy


def load_policy(path: Path | None) -> Policy:
    """The default policy with the file at `path` laid over it."""
    packaged = Path(__file__).parents[1] / "policies" / "default.toml"
    default = packaged if packaged.is_file() else Path(__file__).parents[2] / "policies" / "default.toml"
    document = tomllib.loads(default.read_text(encoding="utf-8"))
    if path is not None:
        document = overlay(document, _read_toml(path))
    try:
        return read_policy(document)
    except msgspec.ValidationError as error:
        raise ConfigurationError(path or default, _in_words(str(error))) from error
