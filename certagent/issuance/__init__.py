"""Issuance: the RFC 8555 flow, the CA behind it, and those who answer its challenges."""
