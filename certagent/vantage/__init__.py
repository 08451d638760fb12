"""Vantages: what an agent observes of its own node and, next to the CA, of the path as the CA sees it. Draws no
conclusions."""
