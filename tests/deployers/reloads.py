"""For targets that a test makes one by one: nobody waits for anybody."""

from certagent.system.clock import SystemClock
from certagent.system.processes import ReloadCoordinator

RELOADS = ReloadCoordinator(SystemClock())
