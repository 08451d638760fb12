"""What certagent makes of nginx's configuration, held against a real nginx."""
