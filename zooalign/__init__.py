"""zooalign."""
