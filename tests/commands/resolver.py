"""A node's resolver files in a folder, with the founding line in them, and the plan that takes it out."""

from pathlib import Path

from certagent.commands.fix import Plan, _read_text
from certagent.config import AgentSection, AgentSettings, AuthoritySection
from certagent.domain.fixes import drop_names
from certagent.domain.rehearsals import Origin, ResolvedAddress

NAME = "traefik.internal.thinkheads.ai"
LINE = f"10.0.0.153 {NAME}"
HEALTHY = "127.0.0.1 localhost\n" + "".join(f"10.0.1.{number} host{number}\n" for number in range(20))
BROKEN = HEALTHY + LINE + "\n"


def make_root(root: Path, hosts: str = BROKEN) -> Path:
    """`root` with an /etc and a state folder's parent."""
    (root / "etc").mkdir(parents=True)
    (root / "etc/hosts").write_text(hosts)
    (root / "etc/resolv.conf").write_text("nameserver 10.0.0.153\n")
    return root


def settings_for(root: Path) -> AgentSettings:
    """An agent's, whose state is kept below `root`."""
    return AgentSettings(
        agent=AgentSection(name="lxc103", state=root / "state"),
        authority=AuthoritySection(directory="https://ca:9000/acme/acme/directory"),
    )


def plan_for(root: Path) -> Plan:
    """Take the founding line out, wherever it stands."""
    text = _read_text(root, "/etc/hosts")
    number = text.content.decode().splitlines().index(LINE) + 1
    line = ResolvedAddress(address="10.0.0.153", origin=Origin(source="hosts", file="/etc/hosts", line=number))
    return Plan(
        edits=tuple(drop_names([(NAME, line)], [], "dns.hosts_shadow.authority", text)), texts={"/etc/hosts": text}
    )
