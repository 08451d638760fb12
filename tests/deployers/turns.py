"""For targets that a test makes one by one: nobody waits for anybody."""

from certagent.world.clock import SystemClock
from certagent.world.turns import Turns

TURNS = Turns(SystemClock())
