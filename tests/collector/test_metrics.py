"""What `deploy/prometheus` and `deploy/grafana` ask for is what the collector shows, and Prometheus takes it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from certagent.collector.agent_link import AgentLinks
from certagent.collector.metrics import Metrics
from certagent.collector.records import Acceptance
from certagent.collector.store import open_store
from certagent.domain.policy import Alerting
from certagent.system.clock import SystemClock
from tests.collector.cast import Cast, make_intake
from tests.collector.test_store import introduce, take
from tests.evidence import shadow

TREE = Path(__file__).parents[2]
RULES = TREE / "deploy/prometheus/certagent-rules.yml"
DASHBOARD = TREE / "deploy/grafana/certagent.json"


async def shown(folder: Path) -> str:
    """The metrics of a fleet with an incident and a message that waits."""
    clock = SystemClock()
    async with open_store(f"sqlite:///{folder}/c.db", Alerting(channels=("hook",)), clock) as store:
        cast = Cast()
        await introduce(store, cast)
        await take(store, cast.authority, cast.authority.watch(shadow()))
        metrics = Metrics(store, AgentLinks(), clock)
        make_intake(store, metrics.registry, clock).count(Acceptance(1, 1), (), 1)
        return (await metrics.render())[0].decode()


def asked() -> list[str]:
    """Every expression of both."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule["expr"] for group in groups for rule in group["rules"]]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return rules + [target["expr"] for panel in panels for target in panel["targets"]]


async def test_everything_that_is_asked_for_is_shown(tmp_path: Path) -> None:
    """Each metric by its name, each label by its name."""
    text = await shown(tmp_path)
    names = {name for expression in asked() for name in re.findall(r"certagent_\w+", expression)}
    assert len(names) >= 9
    for name in names:
        assert re.search(rf"^{name}[{{ ]", text, re.MULTILINE), name
    for name, label in re.findall(r"(certagent_\w+)\{(\w+)=", "\n".join(asked())):
        assert re.search(rf'^{name}{{[^}}]*{label}="', text, re.MULTILINE), (name, label)


@pytest.mark.servers
def test_prometheus_takes_rules_and_scrape_configuration(tmp_path: Path) -> None:
    """By its own checker. The files that the configuration names are put in their places elsewhere."""
    assert shutil.which("promtool"), "no promtool: deploy/setup --tests installs Debian's"
    checked = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    text = RULES.with_name("certagent-scrape.yml").read_text().replace("/etc/prometheus", str(tmp_path))
    (tmp_path / "prometheus.yml").write_text(text)
    for name in ("certagent.token", "root_ca.crt"):
        (tmp_path / name).write_text("x")
    shutil.copy(RULES, tmp_path)
    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
