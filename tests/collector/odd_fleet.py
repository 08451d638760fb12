"""A small fleet with everything that is hard to show: names as long as they come, IPv6, international names, a file of
three hundred wrong lines, and an incident in each of its states."""

from datetime import timedelta

import msgspec

from certagent.collector.credentials import add_token
from certagent.collector.records import TokenRole
from certagent.domain.findings import Culprit, Finding
from certagent.domain.rehearsals import RehearsalOutcome
from certagent.domain.reports import FileChange, Outcome, RunKind
from tests.collector.cast import Agent, certificate, now
from tests.collector.process import Collector
from tests.evidence import LINE, TRAEFIK, refused, rehearse_traefik, shadow

LONG_NODE = f"node-{'n' * 60}"
LONG_NAME = f"{'a' * 60}.{'b' * 60}.{'c' * 60}.zone1.test"
ODD_NAME, ODD_WRITTEN = "xn--bcher-kva.zone1.test", "bücher.zone1.test"
ADDRESS = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"
LONG_FILE = f"/etc/{'folder-of-a-very-long-name/' * 6}{'f' * 60}.conf"
PAGES = (
    *("/", "/incidents?state=all", "/certificates", "/nodes", "/audit", "/findings", "/search?q=zone1", "/history"),
    *(f"/search?q=nothing-{'x' * 200}", f"/nodes/{LONG_NODE}", "/nodes/v6", f"/nodes/{LONG_NODE}/certificates/dead"),
    *(f"/nodes/{LONG_NODE}/certificates/{LONG_NAME}", f"/paths/{LONG_NAME}", f"/paths/{ODD_NAME}"),
    f"/paths/{TRAEFIK}",
    *("/findings/dns.hosts_shadow.authority", "/nodes/nobody", f"/nowhere/{'y' * 300}", "/incidents?state=gone"),
)
"""The pages on which its things stand; beside them those of the incidents."""
_HOUR = timedelta(hours=1)


async def report_odd_fleet(collector: Collector) -> dict[str, str]:
    """The ids of its incidents by what they are: `open`, `long`, `acknowledged`, `resolved`, `unconfirmed`."""
    cast = collector.cast
    await collector.introduce()
    odd, accused = Agent(LONG_NODE), Agent("v6")
    for agent in (odd, accused):
        collector.tokens[agent.name] = add_token(collector.store, agent.name, TokenRole.AGENT, now())
    await collector.report(
        odd.inventory(
            ADDRESS,
            "application",
            certificate(LONG_NAME, LONG_NAME, ODD_NAME, left=_HOUR),
            certificate("dead", "dead.zone1.test", left=-30 * _HOUR),
        )
    )
    await collector.report(accused.inventory("2001:db8::1", "gateway", certificate("v6", "v6.zone2.test")))
    await _report_runs(collector, odd)
    await _report_incidents(collector, odd, accused)
    known = await collector.incidents()
    for identity in [one["id"] for one in known if one["culprit"]["node"] == "v6"]:
        await collector.post(f"/v1/incidents/{identity}/ack", {}, "ops")
    await collector.report(cast.gateway.watch(_wrong_line("lxc101"), scope="file:/etc/gateway.conf"))
    await collector.report(cast.gateway.watch(scope="file:/etc/gateway.conf"))
    return {_name_of(one): one["id"] for one in await collector.incidents()}


async def _report_runs(collector: Collector, odd: Agent) -> None:
    """A renewal done, one failed, and a change of files."""
    for hours, outcome in ((40, Outcome.DONE), (20, Outcome.FAILED), (2, Outcome.KEPT)):
        made = odd.report(RunKind.RENEWAL, certificate=LONG_NAME, at=now() - hours * _HOUR)
        await collector.report(msgspec.structs.replace(made, outcome=outcome))
    change = FileChange(file=LONG_FILE, exists=True, added=(LINE, f"{ADDRESS} {LONG_NAME}"))
    await collector.report(msgspec.structs.replace(odd.watch(scope=f"file:{LONG_FILE}"), changes=(change,)))


async def _report_incidents(collector: Collector, odd: Agent, accused: Agent) -> None:
    cast = collector.cast
    lines = [_long_line(number) for number in range(1, 301)]
    await collector.report(odd.watch(*lines, scope=f"file:{LONG_FILE}"))
    await collector.report(cast.authority.watch(shadow()))
    failed = rehearse_traefik(RehearsalOutcome.FAILED, poisoned=True)
    await collector.report(cast.authority.preflight(shadow(), rehearsals=(failed,), verdicts={TRAEFIK: "block"}))
    await collector.report(accused.preflight(refused("2001:db8::1", "v6", "v6.zone2.test"), identifier="v6.zone2.test"))
    await collector.report(cast.gateway.preflight(_wrong_line("lxc102"), identifier=LONG_NAME))


def _long_line(number: int) -> Finding:
    name = {1: LONG_NAME, 2: ODD_NAME}.get(number, f"v{number}.zone1.test")
    culprit = Culprit(node=LONG_NODE, file=LONG_FILE, line=number, text=f"{ADDRESS} {name}", address=ADDRESS)
    finding = msgspec.structs.replace(shadow(name), reporter=LONG_NODE, culprit=culprit)
    detail = {"hosts": ADDRESS, "asked": {name: [ADDRESS, "10.0.0.1"]}, "seen": [{"name": name, "at": ADDRESS}] * 3}
    return msgspec.structs.replace(finding, detail=detail, fix=f"Remove line {number} of {LONG_FILE} on {LONG_NODE}")


def _wrong_line(node: str) -> Finding:
    culprit = Culprit(node=node, file="/etc/gateway.conf", line=3, text="return 301;")
    return msgspec.structs.replace(shadow(), culprit=culprit)


def _name_of(incident: dict[str, object]) -> str:
    culprit = incident["culprit"]
    assert isinstance(culprit, dict)
    if incident["state"] != "open":
        return str(incident["state"])
    if not incident["confirmed"]:
        return "unconfirmed"
    return "long" if culprit["node"] == LONG_NODE else "open"
