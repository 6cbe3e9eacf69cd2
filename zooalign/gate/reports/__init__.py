"""A check's report for machines: SARIF, JUnit XML, and Markdown for a workflow's summary."""

from zooalign.gate.reports.junit import to_junit
from zooalign.gate.reports.markdown import to_markdown, write_step_failure, write_step_summary
from zooalign.gate.reports.sarif import to_sarif

__all__ = ["to_junit", "to_markdown", "to_sarif", "write_step_failure", "write_step_summary"]
