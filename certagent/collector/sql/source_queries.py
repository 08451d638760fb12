"""Queries that tie incidents to the provisioning code: the lines of incidents, and the code that wrote them."""

from collections.abc import Collection

import msgspec
from sqlalchemy import Connection, select

from certagent.collector.sql.schema import IS_UNRESOLVED, findings, incidents
from certagent.collector.sql.statements import chunks, decode_incident
from certagent.domain.diagnosis.written_lines import LiveLine, lines_met, source_line_of
from certagent.domain.findings import Finding
from certagent.domain.incidents import Incident
from certagent.domain.sightings import COLLECTOR

_MOST_INCIDENTS = 1_000
SOURCE_CODES = '"code":"source.'
"""What the document of a finding about provisioning code contains, and no other."""

_decode_finding = msgspec.json.Decoder(Finding).decode


def read_live_lines(connection: Connection, files: Collection[str]) -> list[LiveLine]:
    """The lines of those files that unresolved incidents are about, and those that were: what the code was found to
    write stays so until the code is mended."""
    of_files = incidents.c.key.startswith("file:") & IS_UNRESOLVED
    rows = connection.execute(select(incidents.c.id, incidents.c.key).where(of_files)).all()
    wanted = [row.id for row in rows if row.key.split(":", 2)[2] in files][:_MOST_INCIDENTS]
    live: list[LiveLine] = []
    for piece in chunks(wanted):
        query = select(incidents.c.document).where(incidents.c.id.in_(piece))
        for incident in map(decode_incident, connection.execute(query).scalars()):
            node, file = incident.culprit.node or "", incident.culprit.file or ""
            live += [LiveLine(node, file, line.text, incident.code) for line in incident.lines if line.text]
    return [*live, *(line for finding in find_about_sources(connection) for line in lines_met(finding))]


def with_sources(connection: Connection, incident: Incident) -> Incident:
    """The incident with the lines of the provisioning code that wrote its own."""
    texts = {tuple(line.text.split()) for line in incident.lines if line.text}
    if incident.culprit.file is None or not texts:
        return incident
    told = find_about_sources(connection)
    lines = map(source_line_of, (one for one in told if one.detail.get("written_to") == incident.culprit.file))
    found = tuple(line for line in lines if line is not None and tuple(line.text.split()) in texts)
    return msgspec.structs.replace(incident, written_by=found) if found else incident


def find_about_sources(connection: Connection) -> list[Finding]:
    """What is said of the provisioning code now."""
    told = findings.c.document.contains(SOURCE_CODES, autoescape=True)
    query = select(findings.c.document).where(findings.c.agent == COLLECTOR, told)
    return [_decode_finding(document) for document in connection.execute(query).scalars()]
