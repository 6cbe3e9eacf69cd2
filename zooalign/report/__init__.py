"""A release or a measurement as one HTML page that needs no network.

:mod:`~zooalign.report.content` says what a page shows, as values.
:mod:`~zooalign.report.structure`, :mod:`~zooalign.report.operators` and
:mod:`~zooalign.report.gather` fill them, and :mod:`~zooalign.report.html` embeds them as JSON into
the page whose scripts and styles lie in ``page/``. Only :mod:`~zooalign.report.write` writes a
file.
"""

from zooalign.report.write import ReportResult, write_report

__all__ = ["ReportResult", "write_report"]
