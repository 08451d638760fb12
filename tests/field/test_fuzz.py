"""Files of real trees, broken in every way: the readers return, in bounded time, and what was not touched is found."""

import json
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certagent.system.procfs import Process, ProcFs
from certagent.vantage.ca_config import read_provisioner
from certagent.vantage.ca_process import read_unit
from certagent.vantage.configured_certificates import ConfiguredCertificates
from certagent.vantage.imported_renewals import read_renewals
from certagent.vantage.nameserver_config import NameserverObserver
from certagent.vantage.service_pairs import find_services
from certagent.vantage.static_observation import find_dangling
from certagent.vantage.web_server_config import WebServerConfigs
from tests.certificates import Authority
from tests.fakes.processes import Running
from tests.field.tree import CASES, Tree
from tests.field.tree import TREES as TREES_OF_PEOPLE
from tests.tiers import Tiers

pytestmark = pytest.mark.slow

SERVICES = Path(__file__).with_name("fuzzed") / "services"
"""A made node with each service and client that is in none of the others."""
LAB = Path(__file__).parents[2] / "deploy/lab/nodes"
IMPORTED = ("etc/letsencrypt", "etc/lego", "opt/acme.sh", "etc/traefik/acme.json", "opt/lego/domains.json")
"""What `init --import` is given."""
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
            document, write = _parsed(content)
        except (yaml.YAMLError, ValueError, RecursionError):
            return content
        places = list(_places(document))
        if places:
            table, key = places[int(len(places) * share * 0.999)]
            if value is ...:
                del table[key]
            else:
                table[key] = value
        return write(document).encode()

    return change


def _parsed(content: bytes) -> tuple[Any, Callable[[Any], str]]:
    """The document, and how it is written again: JSON as JSON, all else as YAML. Raises what YAML raises."""
    if content.lstrip()[:1] in (b"{", b"["):
        with suppress(ValueError):
            return json.loads(content), json.dumps
    with warnings.catch_warnings(action="ignore"):
        return yaml.safe_load(content), lambda document: str(yaml.safe_dump(document, sort_keys=False))


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
    found = [path.parent for folder in (CASES, TREES_OF_PEOPLE, SERVICES.parent) for path in folder.glob("*/root/etc")]
    roots = {path.parent.name: path for path in sorted(found)} | {
        path.parent.name: path.parent for path in sorted(LAB.glob("*/etc"))
    }
    kinds = ("nginx", "traefik", "letsencrypt", "dnsmasq.conf", "haproxy", "step-ca")
    return {name: path for name, path in roots.items() if any((path / "etc" / kind).exists() for kind in kinds)}


TREES = _trees()


def copy_tree(root: Path, folder: Path) -> list[Path]:
    """The tree's /etc and /opt below `folder`, their paths leading there; their files that are text."""
    for name in ("etc", "opt"):
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, symlinks=True)
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
    find_services(root)
    for place in IMPORTED:
        if (root / place).exists():
            with suppress(ValueError, OSError):  # of what is named: `init` says it and ends
                read_renewals(root / place)
    _read_authority(root)


class _Authority(ProcFs):
    """A CA that runs with that root as a service of systemd."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._seen = root

    def root_of(self, pid: int) -> Path:
        """Where its files are."""
        return self._seen

    def unit_of(self, pid: int) -> str | None:
        """Its service."""
        return "step-ca.service"


def _read_authority(root: Path) -> None:
    process = Process(7, "step-ca", ("step-ca", "/etc/step-ca/ca.json"), datetime.now(UTC))
    proc = _Authority(root)
    read_provisioner(proc, process, "acme")
    read_unit(proc, process, ("--resolver", "HTTP_PROXY="))


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


def test_what_is_broken_there_is_read_while_it_is_whole(tmp_path: Path) -> None:
    """Each service, each client's certificates and the CA: the readers that are fuzzed have something to read."""
    copy_tree(SERVICES / "root", tmp_path / "services")
    found = find_services(tmp_path / "services")
    assert found.unreadable == ()
    assert {pair.service for pair in found.value.pairs} == {"haproxy", "caddy", "postgresql", "postfix"}
    for place in IMPORTED[1:]:
        assert read_renewals(tmp_path / "services" / place).value, place
    copy_tree(TREES["lxc103"], tmp_path / "ca")
    process = Process(7, "step-ca", ("step-ca", "/etc/step-ca/ca.json"), datetime.now(UTC))
    assert read_provisioner(_Authority(tmp_path / "ca"), process, "acme").value is not None
    assert read_unit(_Authority(tmp_path / "ca"), process, ("ExecStart=",)).value


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
