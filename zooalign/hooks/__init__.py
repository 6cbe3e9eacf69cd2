"""What plugins are made of: the hooks, and which plugins are installed, allowed and loaded."""
