"""The agent: one per container. `app` wires, `lifecycle` decides what follows what."""
