"""Traefik's files damaged by chance: whatever comes of it is read, and what cannot be used is noted by its file."""

import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certagent.domain.web_servers import traefik_routing
from certagent.domain.web_servers.traefik import dangling
from certagent.vantage.configured_certificates import ConfiguredCertificates
from certagent.vantage.traefik_config import find_traefik, read_traefik
from tests.field.traefik_configurations import make_configuration

_ODD: tuple[Any, ...] = (
    None,
    "",
    "x",
    3,
    -1.5,
    True,
    [],
    {},
    ["a"],
    [None],
    {"a": None},
    {"<<": 1},
    "{{ x }}",
    "\u200b",
    "a: [",
    10**30,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), damage=st.integers(1, 6))
def test_no_damage_ends_the_reading(seed: int, damage: int, tmp_path_factory: Any) -> None:
    """Values deleted, swapped for others, anchored elsewhere; text cut off, doubled, with stray bytes."""
    chance = random.Random(seed * 10 + damage)  # noqa: S311 - no secret, and the same again for the same seed
    folder = Path(tmp_path_factory.mktemp("damaged"))
    (folder / "dynamic").mkdir()
    for name, content in make_configuration(seed).items():
        path = folder / Path(name).parts[0] / Path(name).name if "/" in name else folder / name
        damaged = _damaged(content, name, chance, damage)  # before the path is known: a part of it is another folder
        path.write_bytes(damaged.replace(b"DYNAMIC", str(folder / "dynamic").encode()))
    static = next(path for path in folder.iterdir() if path.name.startswith("traefik."))
    reading = read_traefik(static)
    assert all(one.file.startswith(str(folder)) and one.reason for one in reading.unreadable)
    assert not any(
        "have the expected format" in one.reason for one in reading.unreadable
    )  # nothing came to the boundary
    traefik_routing.judge(reading.value, "app.lan.test")
    list(dangling(reading.value))
    provider = find_traefik((static,))
    assert provider is None or all("{" not in name and " " not in name for name in provider.names)
    certificates = ConfiguredCertificates(folder / "none", (static,))
    certificates.pairs()
    certificates.resolvers()


def _damaged(content: str, name: str, chance: random.Random, damage: int) -> bytes:
    if chance.random() < 0.6 and not name.endswith("toml"):
        document = yaml.safe_load(content)
        for _ in range(damage):
            _swap(document, chance)
        return yaml.dump(document, default_flow_style=chance.choice((None, True, False))).encode()
    raw = bytearray(content.encode())
    for _ in range(chance.randint(0, damage)):
        at = chance.randrange(len(raw) + 1)
        match chance.randrange(4):
            case 0:
                del raw[at:]
            case 1:
                raw[at:at] = raw[: chance.randrange(len(raw) + 1)]
            case 2:
                raw[at:at] = chance.choice((b"\xff", b"\x00", b"\t", b"&a ", b"*a", b"<<: ", b"{{", b"---\n", b"!!x "))
            case _:
                del raw[at : at + chance.randrange(1, 9)]
    return bytes(raw)


def _swap(node: Any, chance: random.Random) -> None:
    """One value somewhere below, for an odd one, for another of the document, or for itself."""
    while isinstance(node, dict | list) and node:
        key = chance.choice(list(node)) if isinstance(node, dict) else chance.randrange(len(node))
        if chance.random() < 0.3 or not isinstance(node[key], dict | list) or not node[key]:
            other = chance.choice(list(node.values()) if isinstance(node, dict) else node)
            node[key] = deepcopy(chance.choice(_ODD)) if chance.random() < 0.7 else other
            return
        node = node[key]
