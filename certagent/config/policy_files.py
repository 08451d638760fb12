"""Policy files: the default one, and what is laid over it."""

import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from certagent.config import located, parse, read_text
from certagent.config.settings import CollectorSettings, ConfigurationError
from certagent.domain.policy import Policy, overlay, read_policy


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
    if path is None:
        return _read_policy(default, document)
    text = read_text(path)
    with located(path, text):
        return _read_policy(path, overlay(document, parse(path, text)))


def _read_policy(path: Path, document: dict[str, Any]) -> Policy:
    try:
        return read_policy(document)
    except msgspec.ValidationError as error:
        from certagent.config.mistakes import in_words

        raise ConfigurationError(path, in_words(str(error), Policy, document)) from error
