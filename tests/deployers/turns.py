"""For targets that a test makes one by one: nobody waits for anybody."""

from certagent.deployers import Turns
from certagent.world.clock import SystemClock

TURNS = Turns(SystemClock())
