"""The commands that a newcomer copies from an empty fleet's overview, as docs/get-started.md has them. Wording only."""

from shlex import quote

import msgspec


class FirstCommands(msgspec.Struct, frozen=True, kw_only=True):
    """What the collector knows of itself. `node`: its own; `has_url`: its configuration says where agents reach it;
    `can_enrol`: it has a certificate that a container can check."""

    node: str
    has_url: bool
    can_enrol: bool

    def own(self, host: str) -> str:
        """On the collector's node, for the agent beside it; `host`: where the reader reached the collector."""
        return f"{self.enrol(host, quote(self.node))} | certagent join"

    def enrol(self, host: str, name: str = "NAME", role: str = "agent") -> str:
        """On the collector's node, for that container."""
        given = "" if role == "agent" else f" --role {role}"
        return f"certagent enrol {name}{given}" + ("" if self.has_url else f" --url {quote(f'https://{host}')}")
