"""Conclusions about lines that somebody wrote where a program rewrites them. Pure.

What such a program writes by itself is known for hosts files (this node's own names, loopback: FACTS, "Containers");
in Proxmox's section of resolv.conf it is nameservers and a search list.
"""

from collections.abc import Iterator

from certagent.domain.diagnosis.static.observation import StaticObservation, is_local, short
from certagent.domain.findings import Finding
from certagent.domain.resolution.hosts import HOSTS_FILE
from certagent.domain.resolution.managed_files import PVE_BEGIN, PVE_END, Manager
from certagent.domain.resolution.resolv_conf import RESOLV_CONF_FILE
from certagent.domain.resolution.text import lower, read_lines, split_fields

_WRITTEN_BY_PROXMOX = ("search", "domain", "nameserver")
_CODE = "dns.managed_file"


def hosts_lines_will_go(look: StaticObservation) -> Iterator[Finding]:
    """dns.managed_file: a line of the hosts file for other names than this node's, where it will be rewritten."""
    for entry in look.files.hosts.entries:
        manager = look.manager(HOSTS_FILE, entry.line)
        if manager is None:
            continue
        names = [lower(name).removesuffix(".") for name in entry.names]
        foreign = [name for name in names if not is_local(name) and not look.is_own(name)]
        if foreign:
            yield look.finding(
                _CODE,
                file=HOSTS_FILE,
                line=entry.line,
                text=entry.text,
                address=entry.address,
                variant="hosts_line",
                names=[short(name) for name in foreign],
                unless_set_there=manager is Manager.DOCKER,
            )


def settings_will_go(look: StaticObservation) -> Iterator[Finding]:
    """dns.managed_file: a line in Proxmox's section of resolv.conf that Proxmox does not write."""
    lines, _ = read_lines(look.contents.get(RESOLV_CONF_FILE) or b"")
    for line in lines:
        fields = split_fields(line.content)
        if look.manager(RESOLV_CONF_FILE, line.number) is not Manager.PROXMOX or not fields:
            continue
        if fields[0] not in _WRITTEN_BY_PROXMOX and not fields[0].startswith(("#", ";")):
            yield look.finding(
                _CODE,
                file=RESOLV_CONF_FILE,
                line=line.number,
                text=line.text,
                variant="setting",
                word=short(fields[0]),
            )


def sections_are_torn(look: StaticObservation) -> Iterator[Finding]:
    """dns.managed_file: one of the two marks of Proxmox's section is gone, so the next start writes another one."""
    for file in (HOSTS_FILE, RESOLV_CONF_FILE):
        lines, _ = read_lines(look.contents.get(file) or b"")
        contents = [line.content.rstrip(b"\r") for line in lines]
        marks = [mark for mark in contents if mark in (PVE_BEGIN, PVE_END)]
        if file in look.left_alone or len(set(marks)) != 1:
            continue
        line = lines[contents.index(marks[0])]
        missing = PVE_END if marks[0] == PVE_BEGIN else PVE_BEGIN
        yield look.finding(
            _CODE, file=file, line=line.number, text=line.text, variant="torn_section", mark=missing.decode()
        )
