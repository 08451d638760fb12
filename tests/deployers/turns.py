"""For targets that a test makes one by one: nobody waits for anybody."""

from certagent.system.clock import SystemClock
from certagent.system.reload_coordinator import ReloadCoordinator

TURNS = ReloadCoordinator(SystemClock())
