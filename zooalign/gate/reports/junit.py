"""JUnit XML, which build servers read: one test case per check."""

from xml.etree import ElementTree

from zooalign.gate.findings import CheckReport, Finding

__all__ = ["to_junit"]


def to_junit(report: CheckReport) -> bytes:
    """One suite; a check with a finding that fails the gate is a failure.

    Other findings are in the case's ``system-out``; checks that did not run are skipped.
    """
    failing = set(report.failures)
    by_check: dict[str, list[Finding]] = {name: [] for name in report.checks}
    for finding in report.findings:
        by_check.setdefault(finding.id, []).append(finding)
    idle = [(n, "what it needs is absent") for n in report.skipped if n not in by_check]
    idle += [(n, "not asked for") for n in report.unasked if n not in by_check]
    idle += [(n, "disabled by the policy") for n in report.disabled]
    failures = sum(any(f in failing for f in of_check) for of_check in by_check.values())
    suite = ElementTree.Element(
        "testsuite",
        name=f"zooalign check {report.reference}",
        tests=str(len(by_check) + len(idle)),
        failures=str(failures),
        errors="0",
        skipped=str(len(idle)),
    )
    for name, findings in by_check.items():
        case = ElementTree.SubElement(suite, "testcase", classname="zooalign.check", name=name)
        bad = [finding for finding in findings if finding in failing]
        if bad:
            first = f"{bad[0].where}: {bad[0].message}"
            failure = ElementTree.SubElement(case, "failure", type=bad[0].severity, message=first)
            failure.text = "\n".join(map(_line, bad))
        rest = [finding for finding in findings if finding not in failing]
        if rest:
            ElementTree.SubElement(case, "system-out").text = "\n".join(map(_line, rest))
    for name, reason in idle:
        case = ElementTree.SubElement(suite, "testcase", classname="zooalign.check", name=name)
        ElementTree.SubElement(case, "skipped", message=reason)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _line(finding: Finding) -> str:
    fix = f" (fix: {finding.fix})" if finding.fix else ""
    return f"{finding.severity}: {finding.where}: {finding.message}{fix}"
