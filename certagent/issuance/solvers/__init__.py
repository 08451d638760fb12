"""Solvers: whoever makes a challenge's answer visible to the CA. One file each."""
