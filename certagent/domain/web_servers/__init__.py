"""What a web server's configuration does with a challenge: which line takes it, and where it goes. Pure.

Read from the files alone, so it explains what the rehearsal saw, and never decides anything by itself.
"""

CHALLENGE = "/.well-known/acme-challenge/"
"""Where every challenge lies (RFC 8555 section 8.3)."""
ASKED = CHALLENGE + "token"
"""The path that configurations are asked about."""
