"""deploy/release: what a release is made of, and that it is the same each time."""
