"""Plugins: the hooks, and which plugins are installed, allowed and loaded."""
