"""The soak: a fleet with short lifetimes under a random schedule of faults. `run` is the command."""
