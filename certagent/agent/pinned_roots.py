"""Which roots this node trusts, place by place, and what would fail here once the CA issues under another of its roots.
Accepts nothing: only a person adds a root."""

import asyncio
import logging
from collections.abc import Iterable, Iterator

import aiohttp
import msgspec

from certagent.agent.context import AgentContext
from certagent.config import AgentSettings
from certagent.domain import catalogue
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.issuance.directory import fingerprints_of_files, published_roots
from certagent.system.pinned_http import PinnedClient
from certagent.system.tls import RootFiles, files_of

log = logging.getLogger(__name__)

MISSING = "ca.root_missing"
_ASKING_SECONDS = 5.0
_MOST_PAGES = 100  # of a thousand nodes each


class PinnedPlace(msgspec.Struct, frozen=True, kw_only=True):
    """One key of the configuration that pins roots: of the authority, the collector, or a certificate."""

    key: str
    files: RootFiles
    certificates: tuple[str, ...] = ()


class _NodeRoots(msgspec.Struct, frozen=True):
    """What `GET /v1/roots` says of a node."""

    node: str
    roots: tuple[str, ...]


class _Page(msgspec.Struct, frozen=True):
    items: tuple[_NodeRoots, ...]
    next: str | None = None


_decode_page = msgspec.json.Decoder(_Page).decode


async def find_missing_roots(context: AgentContext, collector: PinnedClient | None = None) -> list[Finding]:
    """ca.root_missing: of each place that trusts one of the CA's roots, but not all that this node knows or the CA
    publishes; beside the CA also of the other nodes, as the collector knows them."""
    section = context.settings.authority
    published = await published_roots(section.directory, section.root, section.addresses)
    found = await asyncio.to_thread(_find_missing, context.settings, published)
    if context.settings.vantage is not None and collector is not None:
        known = published | set(await asyncio.to_thread(fingerprints_of_files, section.root))
        nodes = await _roots_of_nodes(collector)
        found += _find_nodes(context.node, known, nodes)
    return [context.policy.grade(finding) for finding in found]


async def _roots_of_nodes(collector: PinnedClient) -> list[_NodeRoots]:
    """What the collector tells the agent beside the CA; nothing where it does not, or is an older one."""
    found: list[_NodeRoots] = []
    cursor = ""
    for _ in range(_MOST_PAGES):
        try:
            status, body = await collector.request("GET", f"/v1/roots?limit=1000{cursor}", timeout=_ASKING_SECONDS)
            page = _decode_page(body) if status == 200 else _Page(items=())
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.info("the collector does not say which roots the nodes trust: %s", error)
            break
        found += page.items
        if page.next is None:
            break
        cursor = f"&cursor={page.next}"
    return found


def _find_nodes(node: str, known: set[str], nodes: Iterable[_NodeRoots]) -> Iterator[Finding]:
    """One finding for all nodes that lack the same roots."""
    lacking: dict[tuple[str, ...], list[str]] = {}
    for other in nodes:
        missing = tuple(sorted(known - set(other.roots)))
        if other.node != node and missing and set(other.roots) & known:
            lacking.setdefault(missing, []).append(other.node)
    for missing, names in sorted(lacking.items()):
        yield catalogue.finding(
            MISSING,
            vantage=Vantage.PEER,
            reporter=node,
            culprit=Culprit(node=names[0]) if len(names) == 1 else None,
            variant="nodes",
            names=sorted(names),
            roots_missing=list(missing),
        )


def pinned_places(settings: AgentSettings) -> Iterator[PinnedPlace]:
    """All of them; the authority's first."""
    managed = tuple(section.name for section in settings.certificate if section.manage)
    yield PinnedPlace(key="authority", files=settings.authority.root, certificates=managed)
    if settings.collector is not None and settings.collector.root is not None:
        yield PinnedPlace(key="collector", files=settings.collector.root)
    for section in settings.certificate:
        if section.root is not None:
            yield PinnedPlace(key="certificate", files=section.root, certificates=(section.name,))


def _find_missing(settings: AgentSettings, published: set[str]) -> list[Finding]:
    known = published | set(fingerprints_of_files(settings.authority.root))
    found = []
    for place in pinned_places(settings):
        trusted = set(fingerprints_of_files(place.files))
        if trusted & known and known - trusted:  # another CA's is nobody's concern here
            found.append(_missing(settings.agent.name, place, trusted, known - trusted))
    return found


def _missing(node: str, place: PinnedPlace, trusted: set[str], missing: set[str]) -> Finding:
    return catalogue.finding(
        MISSING,
        vantage=Vantage.CLIENT,
        reporter=node,
        culprit=Culprit(node=node, file=str(files_of(place.files)[0])),
        variant=place.key,
        names=list(place.certificates),
        certificate=next(iter(place.certificates), None),
        roots_trusted=sorted(trusted),
        roots_missing=sorted(missing),
    )
