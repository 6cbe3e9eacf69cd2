"""Publishing a checked directory to a hub."""
