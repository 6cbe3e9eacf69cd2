"""One file that says what is merged, how, and what becomes of it: ``zooalign run recipe.yaml``."""
