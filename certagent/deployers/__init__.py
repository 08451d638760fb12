"""Deployers: how a pair gets to a service, and back. One file per kind of service; `deploy` is the procedure."""
