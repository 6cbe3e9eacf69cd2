"""From a module to its dependency graph: capture, operators, index sets and their relations."""
