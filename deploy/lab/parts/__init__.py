"""The real parts that the nodes are made of: the CA and its keys, Traefik. Debian's are in the root file system."""
