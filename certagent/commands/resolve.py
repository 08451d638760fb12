"""`certagent resolve`: one name as hosts file, nameservers, this libc and Go have it, side by side. Works alone."""

import asyncio
from typing import Any

import msgspec

from certagent.commands.collector_client import ask_collector
from certagent.config import AgentSettings
from certagent.domain.rehearsals import LibcAnswer, Resolution, ResolvedAddress
from certagent.domain.resolver_agreement import disagreements, verdicts
from certagent.system.libc import name_libc
from certagent.vantage.node_vantage import NodeVantage, ask_libc

_WIDTH = 22


def resolve(settings: AgentSettings | None, name: str, *, fleet: bool = False) -> dict[str, Any]:
    """`{"name", "order", "hosts", "nameservers", "libc", "go", "disagreements", "fleet"}`.

    `fleet`: the path as the collector knows it (`Path`), null unless asked for. Raises `UnableError` when it was
    asked for and is unavailable.
    """
    dns = settings.dns if settings is not None else None
    node = NodeVantage(dns.nameservers if dns else (), dns.zones if dns else ())
    resolution, libc = asyncio.run(_look(node, name))
    found = disagreements(resolution, libc, node.addresses())
    document = {
        "name": resolution.name,
        "order": resolution.order,
        "hosts": [_line(line) for line in resolution.hosts],
        "nameservers": [
            {"nameserver": server, "status": status, "addresses": addresses, "answers": _answers(resolution, server)}
            for server, (status, addresses) in verdicts(resolution).items()
        ],
        "libc": {"libc": name_libc(), "addresses": libc.addresses, "error": libc.error},
        "go": {"addresses": [_line(address) for address in resolution.addresses], "error": resolution.error},
        "disagreements": found,
        "fleet": ask_collector(settings, "paths", name) if fleet else None,
    }
    return dict(msgspec.to_builtins(document))


def exit_status(document: dict[str, Any]) -> int:
    """4 when nothing resolves here, 3 on a disagreement (or a broken path, with --fleet), else 0."""
    if not document["libc"]["addresses"] and not document["go"]["addresses"]:
        return 4
    broken = document["fleet"] is not None and document["fleet"]["broken"]
    return 3 if document["disagreements"] or broken else 0


def render(document: dict[str, Any]) -> str:
    """For a person: a row per source, and below what does not agree."""
    lines = [_row(f"{line['file']}:{line['line']}", _hosts_text(line)) for line in document["hosts"]]
    lines = lines or [_row("/etc/hosts", "does not name it")]
    lines += [_row(nameserver["nameserver"], _nameserver_text(nameserver)) for nameserver in document["nameservers"]]
    libc, go = document["libc"], document["go"]
    lines.append(_row(f"libc ({libc['libc']})", ", ".join(libc["addresses"]) or libc["error"] or "no address"))
    order = " then ".join(document["order"])
    addresses = ", ".join(found["address"] for found in go["addresses"])
    lines.append(_row(f"Go ({order})", addresses or go["error"] or ""))
    lines += [f"DISAGREE  {finding['explanation']}" for finding in document["disagreements"]]
    if document["fleet"] is not None:
        lines.append("the CA's way to it, as the collector knows it:")
        lines += [f"  {hop['state']:8} {_hop_text(hop)}" for hop in document["fleet"]["actual"]]
    return "\n".join([document["name"], *(f"  {line}" for line in lines)])


async def _look(node: NodeVantage, name: str) -> tuple[Resolution, LibcAnswer]:
    return await asyncio.gather(node.resolve(name), ask_libc(name))


def _line(found: ResolvedAddress) -> dict[str, Any]:
    return {"address": found.address, **msgspec.to_builtins(found.origin)}


def _answers(resolution: Resolution, server: str) -> dict[str, Any]:
    """Record type -> what that nameserver said, in its own words."""
    replies = (reply for reply in resolution.dns if reply.nameserver == server)
    return {reply.record: {"status": reply.status, "addresses": reply.addresses} for reply in replies}


def _row(source: str, said: str) -> str:
    return f"{source:{_WIDTH}} {said}"


def _hosts_text(line: dict[str, Any]) -> str:
    manager = f"   (managed by {line['managed_by']})" if line["managed_by"] else ""
    return f"{line['address']}   {line['text']}{manager}"


def _nameserver_text(server: dict[str, Any]) -> str:
    records = (
        f"{record} {', '.join(answer['addresses']) or answer['status']}"
        for record, answer in sorted(server["answers"].items())
    )
    return "   ".join(records)


def _hop_text(hop: dict[str, Any]) -> str:
    place = ", ".join(part for part in (hop["node"], hop["address"]) if part)
    return f"{hop['label']}" + (f" ({place})" if place else "") + (f": {hop['detail']}" if hop["detail"] else "")
