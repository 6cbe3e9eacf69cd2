"""From references to directories: align, merge, apply, barrier, connectivity, reproduce."""
