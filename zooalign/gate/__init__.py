"""The release gate: checks, findings, the policy and the forms of a report."""
