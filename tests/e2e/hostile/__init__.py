"""One hostile agent and somebody without any credential, beside the fleet."""
