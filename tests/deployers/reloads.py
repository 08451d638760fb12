"""For targets that a test makes one by one: nobody waits for anybody, for this clock's seconds pass at once."""

from certagent.system.processes import ReloadCoordinator
from tests.fakes.clock import FakeClock

RELOADS = ReloadCoordinator(FakeClock())
