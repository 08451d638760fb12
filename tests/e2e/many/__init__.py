"""A gateway with many names, each with a certificate of its own: how it is made, and a watch over its life."""
