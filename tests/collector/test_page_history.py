"""The timeline of a node and of a certificate: what preceded what; the strip of renewals shows those that failed."""

import re
from datetime import timedelta

import msgspec
import pytest

from certagent.domain.reports import FileChange, Outcome, RunKind
from tests.collector.cast import now
from tests.collector.process import Collector
from tests.collector.test_page_codes import read, words_of
from tests.evidence import LINE, shadow

pytestmark = pytest.mark.slow


async def test_a_timeline_shows_what_preceded_what(collector: Collector) -> None:
    """The renewal, then the change beside the CA, then the incident, on the certificate's page as on the CA's node."""
    await collector.introduce()
    traefik, authority = collector.cast.traefik, collector.cast.authority
    at = now()
    for hours, outcome in ((40, Outcome.DONE), (20, Outcome.FAILED), (1, Outcome.DONE)):
        made = traefik.report(RunKind.RENEWAL, certificate="traefik", at=at - timedelta(hours=hours))
        await collector.report(msgspec.structs.replace(made, outcome=outcome))
    change = FileChange(file="/etc/hosts", exists=True, added=(LINE,))
    await collector.report(msgspec.structs.replace(authority.watch(shadow()), changes=(change,)))
    (incident,) = await collector.incidents()
    page = await read(collector, "/nodes/lxc102/certificates/traefik")
    lines = re.findall(r'(?s)<li class="(\w+)"><div>.*?<b>([^<]+)</b>', page.partition('id="timeline"')[2])
    assert lines == [
        ("bad", "Incident opened: lxc103:/etc/hosts:7"),
        ("none", "/etc/hosts changed"),
        ("good", "Renewed, deployed, proven served (traefik)"),
        ("bad", "Renewal failed (traefik)"),
        ("good", "Renewed, deployed, proven served (traefik)"),
    ]
    assert f'href="/incidents/{incident["id"]}"' in page.partition('id="timeline"')[2]
    assert "on lxc103" in words_of(page)
    strip = page.partition('<svg class="strip"')[2].partition("</svg>")[0]
    assert re.findall(r'<g class="(\w+)">', strip) == ["good", "bad", "good"]
    assert "3 renewals since" in strip
    assert "1 of them failed or withheld" in strip
    node = (await read(collector, "/nodes/lxc103")).partition('id="timeline"')[2]
    assert re.findall(r"<b>([^<]+)</b>", node) == ["Incident opened: lxc103:/etc/hosts:7", "/etc/hosts changed"]
    assert LINE in node
    other = (await read(collector, "/nodes/lxc101/certificates/gateway")).partition('id="timeline"')[2]
    assert "Incident" not in other
    assert '<svg class="strip"' not in await read(collector, "/nodes/lxc101/certificates/gateway")
