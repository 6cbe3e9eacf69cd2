"""Models, checkpoints and data by name: references, lazy reading, whole-or-nothing writing.

Nothing here knows of graphs or permutations; :mod:`zooalign.zoo.models` is the way in.
"""
