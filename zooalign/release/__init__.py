"""From references to a released directory: align, merge, measure, check, publish.

Everything here works on model references and files; the command line only calls it. A released
directory is what its own library loads, with a model card and a folder ``zooalign/`` beside the
weights (:mod:`zooalign.release.layout`).
"""
