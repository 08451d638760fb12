"""Configurations as people have them, tried on certagent as a whole, each in namespaces of its own."""
