"""A path as a Mermaid flow chart: text that a wiki or an issue draws. Pure."""

from certagent.domain.path_trace import HopState, Path, PathHop

_PLAIN = frozenset(" .,:/-_()'=+")


def to_mermaid(path: Path) -> str:
    """Both ways as a Mermaid flow chart; broken hops and the culprit are marked in words and colour."""
    lines = ["flowchart LR"]
    for title, lane, hops in (("Intended", "i", path.intended), ("Actual", "a", path.actual)):
        lines.append(f'  subgraph {title.lower()}["{title}: {_escaped(path.identifier)}"]')
        for number, hop in enumerate(hops):
            lines.append(f'    {lane}{number}["{_mermaid_text(hop)}"]{_mermaid_class(hop)}')
        lines += [f"    {lane}{number} --> {lane}{number + 1}" for number in range(len(hops) - 1)]
        lines.append("  end")
    lines.append("  classDef broken stroke:#c62828,stroke-width:2px")
    lines.append("  classDef culprit stroke:#c62828,stroke-width:4px")
    return "\n".join(lines) + "\n"


def _mermaid_text(hop: PathHop) -> str:
    place = ", ".join(part for part in (hop.node, hop.role, hop.address) if part)
    mark = {HopState.OK: "ok", HopState.BROKEN: "BROKEN", HopState.UNKNOWN: "not known"}[hop.state]
    lines = (hop.label, place, hop.detail, "CULPRIT" if hop.culprit else mark)
    return "<br/>".join(_escaped(line) for line in lines if line)


def _escaped(text: str) -> str:
    """Inside quotes, whatever it holds: nothing of it ends them, begins a directive (`%%{`) or is markup."""
    return "".join(
        character if character.isalnum() or character in _PLAIN else f"#{ord(character)};" for character in text
    )


def _mermaid_class(hop: PathHop) -> str:
    if hop.culprit:
        return ":::culprit"
    return ":::broken" if hop.state is HopState.BROKEN else ""
