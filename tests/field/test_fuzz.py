"""Files of real trees, broken in every way: the readers return, in bounded time, and what was not touched is found."""

import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certagent.vantage.configured_certificates import ConfiguredCertificates
from certagent.vantage.imported_renewals import read_renewals
from certagent.vantage.nameserver_config import NameserverObserver
from certagent.vantage.static_observation import find_dangling
from certagent.vantage.web_server_config import WebServerConfigs
from tests.certificates import Authority
from tests.fakes.processes import Running
from tests.field.tree import CASES, Tree
from tests.tiers import Tiers

pytestmark = pytest.mark.slow

LAB = Path(__file__).parents[2] / "deploy/lab/nodes"
SECONDS = 5.0
"""Of the processor, for all readers of one tree: a file of these has a few KiB."""
HOSTILE = (
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\t", b"\r", b"\xc2\xa0", b"}", b"{", b";", b"'", b'"', b"\\", b"#", b"$"),
    *(
        b"<<: *base\n",
        b"x: &a [*a]\n",
        b"a: &a\n",
        b"- null\n",
        b"? [a]\n: b\n",
        b"---\n",
        b"%YAML 9.9\n",
        b"!!python/x",
    ),
    *(b"server {", b"ssl_certificate;\n", b"return;\n", b"listen;\n"),
    *(b"conf-dir=/\n", b"conf-file=\0\n", b"{{ range }}", b"[" * 3000, b"{" * 3000, b"a:\n" * 500, b"9" * 5000),
)
LOOPS = (b"include *;\n", b"include nginx.conf;\n", b"include sites/*;\n")
NULLS: tuple[Any, ...] = (None, True, 0, -1, 1e400, "", "x", [], {}, [None], {"": None}, [[[]]], {1: {2: 3}})

Mutation = Callable[[bytes], bytes]


def _cut(share: float) -> Mutation:
    return lambda content: content[: int(len(content) * share)]


def _inserted(share: float, what: bytes) -> Mutation:
    def insert(content: bytes) -> bytes:
        at = int(len(content) * share)
        return content[:at] + what + content[at:]

    return insert


def _inserted_line(share: float, what: bytes) -> Mutation:
    def insert(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        at = int(len(lines) * share)
        return b"".join([*lines[:at], what, *lines[at:]])

    return insert


def _flipped(shares: list[float], value: int) -> Mutation:
    def flip(content: bytes) -> bytes:
        changed = bytearray(content)
        for share in shares if changed else ():
            changed[int(len(changed) * share * 0.999)] ^= value
        return bytes(changed)

    return flip


def _lines(share: float, times: int) -> Mutation:
    """One line is there so many times; none: it is deleted."""

    def repeat(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        at = int(len(lines) * share * 0.999)
        return b"".join([*lines[:at], *(lines[at : at + 1] * times), *lines[at + 1 :]])

    return repeat


def _node(share: float, value: Any) -> Mutation:
    """One node of the document becomes that value, or goes (`...`)."""

    def change(content: bytes) -> bytes:
        try:
            with warnings.catch_warnings(action="ignore"):
                document = yaml.safe_load(content)
        except (yaml.YAMLError, ValueError, RecursionError):
            return content
        places = list(_places(document))
        if places:
            table, key = places[int(len(places) * share * 0.999)]
            if value is ...:
                del table[key]
            else:
                table[key] = value
        return yaml.safe_dump(document, sort_keys=False).encode()

    return change


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every node, as its table and its key there; what contains itself is gone through once."""
    waiting, met = [document], set[int]()
    while waiting:
        table = waiting.pop()
        if id(table) in met or not isinstance(table, dict | list):
            continue
        met.add(id(table))
        for key, inner in list(table.items() if isinstance(table, dict) else enumerate(table)):
            yield table, key
            waiting.append(inner)


SHARES = st.floats(0, 1)
MUTATIONS: st.SearchStrategy[Mutation] = st.one_of(
    st.builds(_inserted_line, SHARES, st.sampled_from(HOSTILE)),
    st.builds(_cut, SHARES),
    st.builds(_inserted, SHARES, st.sampled_from(HOSTILE) | st.binary(max_size=20)),
    st.builds(_flipped, st.lists(SHARES, min_size=1, max_size=5), st.integers(1, 255)),
    st.builds(_lines, SHARES, st.sampled_from([0, 2, 50])),
    st.builds(_node, SHARES, st.sampled_from([..., *NULLS])),
)


LOOPING: st.SearchStrategy[Mutation] = st.builds(_inserted_line, SHARES, st.sampled_from(LOOPS))


def _trees() -> dict[str, Path]:
    """Those with a web server, a nameserver or another client's renewals."""
    roots = {path.parent.name: path for path in sorted(CASES.glob("*/root"))} | {
        path.parent.name: path for path in sorted(LAB.glob("*/etc"))
    }
    below = {name: (path if path.name == "etc" else path / "etc") for name, path in roots.items()}
    kinds = ("nginx", "traefik", "letsencrypt", "dnsmasq.conf")
    return {name: path for name, path in below.items() if any((path / kind).exists() for kind in kinds)}


TREES = _trees()


def copy_tree(etc: Path, folder: Path) -> list[Path]:
    """The tree below `folder`, its paths leading there; its files that are text."""
    shutil.copytree(etc, folder / "etc", symlinks=True)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".pem"]
    for file in files:
        file.write_bytes(file.read_bytes().replace(b"/etc/", f"{folder}/etc/".encode()))
    return files


def _read_all(root: Path) -> None:
    """Every reader of the agent's, and of `lint` and `init`."""
    nginx = root / "etc/nginx/nginx.conf"
    traefik = tuple(root / "etc/traefik" / name for name in ("traefik.yml", "traefik.yaml", "traefik.toml"))
    servers = WebServerConfigs(nginx, traefik)
    servers.unreadable()
    servers.observe("wiki.home.test")
    find_dangling(nginx, traefik)
    configured = ConfiguredCertificates(nginx, traefik)
    configured.pairs()
    configured.resolvers()
    observer = NameserverObserver(Running("dnsmasq -C /etc/dnsmasq.conf"), root)
    observer.observe()
    observer.files()
    if (root / "etc/letsencrypt").is_dir():
        read_renewals(root / "etc/letsencrypt")


def _examples(tiers: Tiers) -> int:
    return int(tiers.amount("tests/field/test_fuzz.py"))


@pytest.mark.parametrize("name", TREES)
def test_readers_return_whatever_a_file_holds(tmp_path: Path, name: str, tiers: Tiers) -> None:
    """None of them raises, and all of them together take a few seconds at most."""
    files = copy_tree(TREES[name], tmp_path)
    whole = {file: file.read_bytes() for file in files}

    @settings(max_examples=_examples(tiers), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(files), st.lists(MUTATIONS | LOOPING, min_size=1, max_size=3))
    def break_and_read(file: Path, mutations: list[Mutation]) -> None:
        content = whole[file]
        for mutate in mutations:
            content = mutate(content)
        file.write_bytes(content)
        begun = time.process_time()
        try:
            _read_all(tmp_path)
        finally:
            file.write_bytes(whole[file])
        assert time.process_time() - begun < SECONDS

    break_and_read()


def _nginx_tree(etc: Path, name: str, pair: Path) -> None:
    _write(etc / "nginx/nginx.conf", f"events {{}}\nhttp {{\n  include {etc}/nginx/sites/*;\n}}\n")
    site = f"server {{\n  listen 443 ssl;\n  server_name {name};\n  ssl_certificate {pair};\n"
    _write(
        etc / f"nginx/sites/{name}", f"{site}  ssl_certificate_key {pair}.key;\n  location / {{ return 204; }}\n}}\n"
    )


def _traefik_tree(etc: Path, name: str, pair: Path) -> None:
    _write(etc / "traefik/traefik.yml", f"providers:\n  file:\n    directory: {etc}/traefik/dynamic\n")
    certificates = f"tls:\n  certificates:\n    - certFile: {pair}\n      keyFile: {pair}.key\n"
    router = f"http:\n  routers:\n    {name.partition('.')[0]}: {{rule: Host(`{name}`), service: s}}\n"
    _write(etc / f"traefik/dynamic/{name}.yml", certificates + router)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


NAMES = ("a.home.test", "b.home.test", "c.home.test")


@pytest.mark.parametrize(("make", "parts"), [(_nginx_tree, "nginx/sites"), (_traefik_tree, "traefik/dynamic")])
def test_a_certificate_in_a_file_that_was_not_touched_is_found(
    tmp_path: Path, make: Callable[[Path, str, Path], None], parts: str, tiers: Tiers
) -> None:
    """Whatever the file beside it holds."""
    etc = tmp_path / "etc"
    for name in NAMES:
        (tmp_path / f"{name}.pem").write_bytes(Authority().issue(name).chain_pem)
        make(etc, name, tmp_path / f"{name}.pem")
    files = sorted((etc / parts).iterdir())
    configured = ConfiguredCertificates(etc / "nginx/nginx.conf", (etc / "traefik/traefik.yml",))
    whole = files[1].read_bytes()

    @settings(max_examples=2 * _examples(tiers), deadline=None, database=None)
    @given(st.lists(MUTATIONS, min_size=1, max_size=3))
    def break_and_look(mutations: list[Mutation]) -> None:
        content = whole
        for mutate in mutations:
            content = mutate(content)
        files[1].write_bytes(content)
        found = {pair.certificate for pair in configured.pairs().value}
        assert found >= {str(tmp_path / f"{name}.pem") for name in (NAMES[0], NAMES[2])}, content

    break_and_look()


def test_a_renewal_in_a_file_that_was_not_touched_is_imported(tmp_path: Path, tiers: Tiers) -> None:
    """Beside one of certbot's that may hold anything."""
    folder = Tree.of_case("02-certbot-one-broken", tmp_path).root / "etc/letsencrypt"
    for file in (folder / "renewal").iterdir():
        file.write_text(file.read_text().replace("/etc/letsencrypt", str(folder)))
    broken = folder / "renewal/a.home.test.conf"
    whole = broken.read_bytes()

    @settings(max_examples=2 * _examples(tiers), deadline=None, database=None)
    @given(st.lists(MUTATIONS, min_size=1, max_size=3))
    def break_and_import(mutations: list[Mutation]) -> None:
        content = whole
        for mutate in mutations:
            content = mutate(content)
        broken.write_bytes(content)
        reading = read_renewals(folder)
        assert ("b.home.test",) in {renewal.identifiers for renewal in reading.value}
        assert str(folder / "renewal/old.home.test.conf") in {one.file for one in reading.unreadable}

    break_and_import()
