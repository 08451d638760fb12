"""Values and pure decisions. Nothing here reads a clock, a file, a socket or the environment."""
