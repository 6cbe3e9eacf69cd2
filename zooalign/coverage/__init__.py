"""What zooalign derives for every architecture of a library, as one table.

:func:`~zooalign.coverage.sweep.sweep` examines architectures in worker processes and appends one
JSON line a model to a file; :func:`~zooalign.coverage.report.write_report` makes a page of it.
"""
