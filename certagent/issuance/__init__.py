"""Issuance: the RFC 8555 flow, the client of the CA, and the solvers that answer challenges."""
