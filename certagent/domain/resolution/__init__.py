"""The resolver's files as they are, and Go's resolver as a pure machine: the CA is a Go program, not a libc one."""
