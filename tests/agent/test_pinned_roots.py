"""Which roots a node trusts, and what a further root of the CA would break on it: told, never accepted."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certagent.agent.context import AgentContext
from certagent.agent.pinned_roots import find_missing_roots
from certagent.config import CertificateSection, CollectorSection, ListenerSolver, VantageSection
from certagent.domain.findings import Finding, Vantage
from certagent.issuance.directory import check_directory
from certagent.system.pinned_http import PinnedClient
from tests.agent.context import make_context
from tests.certificates import Authority
from tests.fakes.tls_servers import context_of

OLD, NEW, FOREIGN = (Authority(name) for name in ("Old Root", "New Root", "Another CA's Root"))
MANAGED = CertificateSection(name="web", identifiers=("web.test",), solver=ListenerSolver(listen="127.0.0.1:5002"))


def fingerprint(authority: Authority) -> str:
    """SHA-256 in lower-case hexadecimal."""
    return x509.load_pem_x509_certificate(authority.root_pem).fingerprint(hashes.SHA256()).hex()


@asynccontextmanager
async def ca(*published: Authority) -> AsyncIterator[str]:
    """A CA with a certificate of the old root that publishes those roots; its directory's URL."""
    body = b"".join(authority.root_pem for authority in published)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        status = b"200 OK" if b" /roots.pem " in line else b"404 Not Found"
        writer.write(b"HTTP/1.0 " + status + b"\r\n\r\n" + body)
        writer.close()

    context = context_of(OLD.issue("127.0.0.1"))
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/acme/acme/directory"


def node(folder: Path, directory: str, *pinned: Authority, collector: Authority | None = None) -> AgentContext:
    """A node that pins those roots, one file each; and one for the collector."""
    files = tuple(one.write_root(folder / f"{number}.crt") for number, one in enumerate(pinned))
    watched = CertificateSection(name="old", identifiers=("old.test",), manage=False, root=files[0])
    context = make_context(folder, MANAGED, watched)
    settings = context.settings
    authority = msgspec.structs.replace(settings.authority, directory=directory, root=files)
    section = None
    if collector is not None:
        section = CollectorSection(url="https://collector.test", root=collector.write_root(folder / "collector.crt"))
    settings = msgspec.structs.replace(settings, authority=authority, collector=section)
    return msgspec.structs.replace(context, settings=settings)


def places(findings: list[Finding]) -> list[tuple[str, str]]:
    """(the file, the first word of what it is for)."""
    for finding in findings:
        assert (finding.code, str(finding.severity)) == ("ca.root_missing", "warn")
        assert fingerprint(NEW) in finding.explanation
        assert fingerprint(OLD) in finding.explanation
    return [(Path(finding.culprit.file or "").name, finding.explanation) for finding in findings if finding.culprit]


async def test_nothing_is_missing_as_long_as_there_is_one_root(tmp_path: Path) -> None:
    """Published and pinned everywhere."""
    async with ca(OLD) as directory:
        assert await find_missing_roots(node(tmp_path, directory, OLD, collector=OLD)) == []


async def test_a_root_that_the_ca_publishes_and_nobody_here_trusts_is_named_before_it_issues(tmp_path: Path) -> None:
    """Each place of the configuration, its file, and what fails; and it is not trusted by being seen."""
    async with ca(OLD, NEW) as directory:
        context = node(tmp_path, directory, OLD, collector=OLD)
        found = places(await find_missing_roots(context))
    assert [file for file, _ in found] == ["0.crt", "collector.crt", "0.crt"]
    authority, collector, watched = (text for _, text in found)
    assert "orders and proofs of web fail here" in authority
    assert "collector.root" in collector
    assert "certificate old" in watched
    assert context.settings.authority.root == (tmp_path / "0.crt",)
    assert (tmp_path / "0.crt").read_bytes() == OLD.root_pem


async def test_a_place_that_was_forgotten_is_named_though_the_ca_publishes_nothing_yet(tmp_path: Path) -> None:
    """Both are pinned for the CA; the collector is verified with the old one alone."""
    async with ca(OLD) as directory:
        found = places(await find_missing_roots(node(tmp_path, directory, OLD, NEW, collector=OLD)))
    assert [file for file, _ in found] == ["collector.crt", "0.crt"]


async def test_a_node_that_was_forgotten_is_told_that_the_root_has_changed(tmp_path: Path) -> None:
    """Though the CA still publishes the one that it trusts; where only the chain is bad, that is not said."""
    async with ca(OLD, NEW) as directory:
        (forgotten, *_) = await check_directory(directory, NEW.write_root(tmp_path / "new.crt"), ())
        (stranger, *_) = await check_directory(directory, FOREIGN.write_root(tmp_path / "foreign.crt"), ())
    assert (forgotten.error, stranger.error) == ("root_changed", "root_changed")
    async with ca(NEW) as directory:
        (bad, *_) = await check_directory(directory, NEW.write_root(tmp_path / "new.crt"), ())
    assert bad.error == "untrusted"


async def test_another_cas_root_is_left_alone(tmp_path: Path) -> None:
    """The collector's certificate comes from elsewhere."""
    async with ca(OLD) as directory:
        assert await find_missing_roots(node(tmp_path, directory, OLD, collector=FOREIGN)) == []


@pytest.mark.parametrize("publishes", [(), (FOREIGN,)])
async def test_who_is_not_vouched_for_is_not_believed(tmp_path: Path, publishes: tuple[Authority, ...]) -> None:
    """Nobody answers, or somebody whose certificate is of another root."""
    async with ca(*publishes) as directory:
        assert await find_missing_roots(node(tmp_path, directory, NEW)) == []


async def test_beside_the_ca_the_nodes_are_named_that_would_be_left_behind(tmp_path: Path) -> None:
    """As the collector knows them, page by page; who trusts both, another CA or does not say is not named."""
    old, new, foreign = map(fingerprint, (OLD, NEW, FOREIGN))
    pages = {
        "/v1/roots?limit=1000": {"items": [{"node": "lxc101", "roots": [old]}], "next": "7a"},
        "/v1/roots?limit=1000&cursor=7a": {
            "items": [
                {"node": "lxc104", "roots": [old]},
                {"node": "lxc105", "roots": [old, new]},
                {"node": "lxc106", "roots": [foreign]},
                {"node": "lxc107", "roots": []},
            ],
            "next": None,
        },
    }
    async with ca(OLD, NEW) as directory, _collector(pages, tmp_path) as client:
        context = node(tmp_path, directory, OLD, NEW)
        told = await find_missing_roots(context, client)
        assert [finding for finding in told if finding.vantage is Vantage.PEER] == []
        settings = msgspec.structs.replace(context.settings, vantage=VantageSection(allow=("*",)))
        told = await find_missing_roots(msgspec.structs.replace(context, settings=settings), client)
    (nodes,) = [finding for finding in told if finding.vantage is Vantage.PEER]
    assert f"The CA has {new}, which lxc101 and lxc104 do not trust" in nodes.explanation


async def test_a_collector_that_does_not_say_is_no_failure(tmp_path: Path) -> None:
    """An older one."""
    async with ca(OLD) as directory, _collector({}, tmp_path) as client:
        context = node(tmp_path, directory, OLD)
        settings = msgspec.structs.replace(context.settings, vantage=VantageSection(allow=("*",)))
        assert await find_missing_roots(msgspec.structs.replace(context, settings=settings), client) == []


@asynccontextmanager
async def _collector(pages: Mapping[str, object], folder: Path) -> AsyncIterator[PinnedClient]:
    """One that gives those documents, and 404 for all else."""

    async def answer(request: web.Request) -> web.Response:
        page = pages.get(request.path_qs)
        return web.json_response(page) if page is not None else web.Response(status=404, text="nothing")

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context_of(OLD.issue("127.0.0.1")))
    await site.start()
    port = runner.addresses[0][1]
    try:
        root = OLD.write_root(folder / "of-the-collector.crt")
        async with PinnedClient(f"https://127.0.0.1:{port}", root, (), {}) as client:
            yield client
    finally:
        await runner.cleanup()
