"""A fleet of real containers for certagent to look after. `./run` is the way in."""
