"""The ground that plugins stand on: the hooks, and who is installed, allowed and loaded."""
