"""The queries behind lists, search and timelines, on each database: the same answers, in both ways."""

import pytest

from certagent.collector.sql.history_queries import find_history
from certagent.collector.sql.list_queries import (
    CertificateFilter,
    IncidentFilter,
    ListPage,
    NodeFilter,
    list_certificates_by,
    list_incidents_by,
    list_nodes_by,
)
from certagent.collector.sql.search_queries import search
from certagent.collector.store import Store
from tests.collector.cast import now
from tests.collector.fleet_of import ODD_NAME, fill, opened

NODES, REFUSED = 30, 12


async def test_each_database_answers_the_same(url: str) -> None:
    """Filters, orders, cursors and searches."""
    async with opened(url) as store:
        await fill(store, NODES, REFUSED)
        for ordered in (CertificateFilter(), CertificateFilter(sort="name"), CertificateFilter(sort="node")):
            await _walk_certificates(store, ordered)
        counts = {
            CertificateFilter(zone="zone3.test"): 3,
            CertificateFilter(state="at_risk"): REFUSED,
            CertificateFilter(state="expired"): 2,
            CertificateFilter(state="missing"): 0,
            CertificateFilter(q="B4.ZONE"): 1,
            CertificateFilter(node="n0007"): 2,
        }
        for wanted, count in counts.items():
            assert len((await store.read(list_certificates_by, wanted, now(), 100)).items) == count, wanted
        page = await store.read(list_incidents_by, IncidentFilter(), 100)
        assert len(page.items) == REFUSED
        assert [one.victims[0].node for one in page.items] == [f"n{number:04}" for number in range(REFUSED)]
        nodes = await store.read(list_nodes_by, NodeFilter(q="N001", sort="name"), frozenset({"n0011"}), 100)
        assert [one.name for one in nodes.items] == [f"n{number:04}" for number in range(10, 20)]
        only = await store.read(list_nodes_by, NodeFilter(state="connected"), frozenset({"n0011"}), 100)
        assert [one.name for one in only.items] == ["n0011"]
        found = await store.read(search, "BÜCHER.zone1.test", 20)
        assert [one.identifier for one in found.identifiers] == [ODD_NAME]
        found = await store.read(search, "10.1.0.2", 5)
        assert (len(found.nodes), set(found.more)) == (5, {"nodes"})
        history = await store.read(find_history, "n0003", "web", 40)
        assert [one.kind for one in history.transitions] == ["opened"]


async def _walk_certificates(store: Store, wanted: CertificateFilter) -> None:
    """Forwards and back again, seven at a time."""
    pages: list[ListPage] = [await store.read(list_certificates_by, wanted, now(), 7)]
    while (following := pages[-1].next) is not None:
        pages.append(await store.read(list_certificates_by, wanted, now(), 7, following))
    rows = [(one.node, one.certificate.name) for page in pages for one in page.items]
    assert len(set(rows)) == len(rows) == 2 * NODES
    back = pages[-1]
    for page in reversed(pages[:-1]):
        back = await store.read(list_certificates_by, wanted, now(), 7, None, back.previous)
        assert back.items == page.items
    assert back.previous is None


async def test_a_cursor_of_another_list_is_refused(url: str) -> None:
    async with opened(url) as store:
        await fill(store, 3, 1)
        with pytest.raises(ValueError, match=r"."):
            await store.read(list_incidents_by, IncidentFilter(), 10, "zz")
        with pytest.raises(ValueError, match=r"."):
            await store.read(list_nodes_by, NodeFilter(), frozenset(), 10, "zz")
        with pytest.raises(ValueError, match=r"."):
            await store.read(list_certificates_by, CertificateFilter(sort="name"), now(), 10, None, "5b315d")
