"""Solvers: each makes a challenge's answer visible to the CA in one way. One file each."""
