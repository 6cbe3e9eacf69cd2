"""A check's report for machines: SARIF, JUnit XML, and Markdown for a workflow's summary."""

from zooalign.release.reports.junit import to_junit
from zooalign.release.reports.markdown import (
    to_markdown,
    write_step_failure,
    write_step_summary,
)
from zooalign.release.reports.sarif import to_sarif

__all__ = ["to_junit", "to_markdown", "to_sarif", "write_step_failure", "write_step_summary"]
