"""The fleet as a soak wants it: certificates of minutes, a collector that soon calls an agent silent, clocks that can
be stepped. And as it was before."""

import contextlib
from collections.abc import Iterator
from functools import partial

from deploy.story import witness
from tests.e2e import fleet
from tests.soak.two_collectors import two_collectors
from tests.soak.ways import AGENTS, CLOCK, SILENT_AFTER, STEPPED, shell

LIFETIME = "5m"
"""And a minute more, by which the CA dates back. Due after four of six, so two are left for what goes wrong."""

_SHORTEN = f"""
cp -p /etc/step-ca/ca.json /root/ca.json.soak
sed -i 's/"defaultTLSCertDuration": "24h"/"defaultTLSCertDuration": "{LIFETIME}"/' /etc/step-ca/ca.json
grep -q '"{LIFETIME}"' /etc/step-ca/ca.json
systemctl restart step-ca
"""
_LENGTHEN = """
[ ! -e /root/ca.json.soak ] || mv /root/ca.json.soak /etc/step-ca/ca.json
systemctl reset-failed step-ca
systemctl restart step-ca
"""
_IMPATIENT = f"""
cp -p /etc/certagent/collector.toml /root/collector.toml.soak
[ ! -e /etc/certagent/policy.toml ] || cp -p /etc/certagent/policy.toml /root/policy.toml.soak
printf '[collector]\\nflapping_hold = "0s"\\nsilent_after = "{SILENT_AFTER}s"\\n' >/etc/certagent/policy.toml
grep -q '^policy = ' /etc/certagent/collector.toml ||
    sed -i '1i policy = "/etc/certagent/policy.toml"' /etc/certagent/collector.toml
systemctl restart certagent-collector
"""
_PATIENT = """
[ ! -e /root/collector.toml.soak ] || mv /root/collector.toml.soak /etc/certagent/collector.toml
rm -f /etc/certagent/policy.toml
[ ! -e /root/policy.toml.soak ] || mv /root/policy.toml.soak /etc/certagent/policy.toml
systemctl restart certagent-collector
"""
_FAKE = f"""
echo +0 >{CLOCK}
mkdir -p /etc/systemd/system/certagent-agent.service.d
cat >/etc/systemd/system/certagent-agent.service.d/soak.conf <<'UNIT'
[Service]
Environment=LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1 FAKETIME_TIMESTAMP_FILE={CLOCK}
Environment=FAKETIME_CACHE_DURATION=1 FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1
UNIT
systemctl daemon-reload
systemctl restart certagent-agent
"""
_REAL = f"""
rm -f {CLOCK} /etc/systemd/system/certagent-agent.service.d/soak.conf
systemctl daemon-reload
systemctl restart certagent-agent
"""


@contextlib.contextmanager
def prepared(collectors: int = 1) -> Iterator[None]:
    """Every certificate is a short one when the block begins, and a long one again when it ends."""
    shell("lxc103", _SHORTEN)
    try:
        shell("lxc104", _IMPATIENT)
        for node in STEPPED:
            shell(node, _FAKE)
        with two_collectors() if collectors > 1 else contextlib.nullcontext():
            _renew_all()
            yield
    finally:
        for node in STEPPED:
            shell(node, _REAL)
        shell("lxc104", _PATIENT)
        shell("lxc103", _LENGTHEN)
        _renew_all()


def spools() -> dict[str, tuple[int, int]]:
    """By agent: the number of its last report, and how many reports it keeps as refused."""
    return {node: _spool(node) for node in AGENTS}


def _spool(node: str) -> tuple[int, int]:
    last, dead = shell(node, _SPOOL.format(state=_STATES.get(node, "/var/lib/certagent"))).split()
    return int(last), int(dead)


def nothing_waits() -> bool:
    """Whether every agent's spool is empty."""
    script = "ls {state}/spool | grep -c '^[0-9]' || true"
    return all(int(shell(node, script.format(state=_STATES.get(node, "/var/lib/certagent")))) == 0 for node in AGENTS)


_STATES = {"lxc104": "/var/lib/certagent/agent"}
_SPOOL = """
cat {state}/spool/*.json | sed -n 's/.*"sequence":\\([0-9]*\\).*/\\1/p' | sort -n | tail -n 1
ls {state}/spool/dead | wc -l
"""


def _renew_all() -> None:
    fleet.wait_until_green(120)
    for node in fleet.IDENTIFIERS:
        fleet.until(f"{node} has renewed", 90, partial(_is_renewed, node))
    fleet.wait_until_green(120)


def _is_renewed(node: str) -> bool:
    try:
        _, document = witness.certagent(node, "renew", "--force")
    except witness.Unseen:
        return False  # the agent has not started yet
    return all(one["outcome"] in ("done", "found") for one in document["certificates"])
