"""The campaign: the CA's own verdict against certagent's, over many ways to break the fleet. `run` is the command."""
