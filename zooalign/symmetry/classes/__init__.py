"""Classes of groups: maps of units beyond permutations (signs, scales, rotations, invertible maps).

What operators say of values (:mod:`zooalign.graph.statement`) becomes equations (``scaling``),
which ``derive`` solves for each group; ``proof`` tries random elements at every operator.
"""
