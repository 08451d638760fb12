"""What nearly every part of the agent needs, as one value. The wiring makes it once; it decides and does nothing."""

import msgspec

from certagent.agent.reporter import Reporter
from certagent.config import AgentSettings
from certagent.domain.policy import Policy
from certagent.domain.ports import Clock
from certagent.state import State


class AgentContext(msgspec.Struct, frozen=True, kw_only=True):
    """One agent on one node. `node` is its name, as `settings.agent.name` has it."""

    node: str
    settings: AgentSettings
    policy: Policy
    clock: Clock
    state: State
    reporter: Reporter
