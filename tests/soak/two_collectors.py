"""The fleet with two collectors on one PostgreSQL, both on the collector's node, each in a service of its own. The
database is outside of the nodes, on the lab's bridge, and begins with what the one collector had. And as it was
before."""

import contextlib
from collections.abc import Iterator

from deploy.lab.fleet import GATEWAY
from deploy.lab.network import INSIDE
from tests.collector.postgresql import Server, running_server
from tests.soak.ways import AGENTS, COLLECTOR_NODE, SECOND, shell

_ADDRESS, _PORT = "10.0.0.104", 8844

_TAKE_OVER = f"""
cd /etc/certagent
cp -p collector.toml /root/collector.toml.one
certagent store backup --config collector.toml /root/store.backup
systemctl stop certagent-collector
sed -i '/^\\[store\\]/,/^url/ s|^url = .*|url = "{{url}}"|' collector.toml
grep -q '{{url}}' collector.toml
certagent store restore --config collector.toml /root/store.backup
rm /root/store.backup
sed 's/^listen = .*/listen = "0.0.0.0:{_PORT}"\\nname = "second"/' collector.toml >{SECOND}.toml
grep -q '^name = "second"' {SECOND}.toml
chown --reference=collector.toml {SECOND}.toml
chmod --reference=collector.toml {SECOND}.toml
sed 's|/etc/certagent/collector.toml|/etc/certagent/{SECOND}.toml|' \
    "$(systemctl show -P FragmentPath certagent-collector)" >/etc/systemd/system/{SECOND}.service
systemctl daemon-reload
systemctl enable {SECOND}
systemctl start certagent-collector {SECOND}
"""
_GIVE_BACK = f"""
[ -e /root/collector.toml.one ] || exit 0
systemctl disable --now {SECOND} || true
systemctl stop certagent-collector || true
mv /root/collector.toml.one /etc/certagent/collector.toml
rm -f /etc/certagent/{SECOND}.toml /etc/systemd/system/{SECOND}.service /root/store.backup
systemctl daemon-reload
systemctl start certagent-collector
"""
_BOTH = f"""
sed -i '/^\\[collector\\]/,/^token_file/ s|^addresses = .*|addresses = ["{_ADDRESS}", "{_ADDRESS}:{_PORT}"]|' \
    /etc/certagent/agent.toml
grep -q ':{_PORT}' /etc/certagent/agent.toml
systemctl restart certagent-agent
"""
_ONE = f"""
sed -i '/^\\[collector\\]/,/^token_file/ s|^addresses = .*|addresses = ["{_ADDRESS}"]|' /etc/certagent/agent.toml
systemctl restart certagent-agent
"""


@contextlib.contextmanager
def two_collectors() -> Iterator[None]:
    """Both work when the block begins, and every agent knows both."""
    with running_server(on=(GATEWAY, INSIDE)) as server:
        server.admit("10.0.0.0/24")
        url = _url(server)
        try:
            shell(COLLECTOR_NODE, _TAKE_OVER.format(url=url.replace("&", "\\&")))
            for node in AGENTS:
                shell(node, _BOTH)
            yield
        finally:
            for node in AGENTS:
                shell(node, _ONE)
            shell(COLLECTOR_NODE, _GIVE_BACK)


def _url(server: Server) -> str:
    database = server.new_database().partition("?")[0].rpartition("/")[2]
    return f"postgresql://postgres@{GATEWAY}:{server.port}/{database}"
