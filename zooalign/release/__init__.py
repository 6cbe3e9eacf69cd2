"""What a release is: its record, its files, its card, and how one is opened.

A released directory is what its own library loads, with a model card and a folder ``zooalign/``
beside the weights (:mod:`zooalign.release.layout`).
"""
