"""Generate the schemas from the types of the files and of the commands' JSON."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from zooalign.cli._errors import ErrorResult
from zooalign.coverage.summary import CoverageResult
from zooalign.demo.report import DemoReport
from zooalign.gate.findings import CheckReport
from zooalign.gate.plugin_states import PluginsResult
from zooalign.gate.policy import Policy
from zooalign.pipelines.align import AlignResult
from zooalign.pipelines.apply import ApplyReport
from zooalign.pipelines.barrier import BarrierResult
from zooalign.pipelines.connectivity_result import ConnectivityResult
from zooalign.pipelines.lora import LoraReport
from zooalign.pipelines.merge import MergeResult
from zooalign.pipelines.plan import Plan
from zooalign.pipelines.reproduce import ReproduceReport
from zooalign.pipelines.spec import ElementFile, PermutationFile, SpecFile, SpecResult, VerifyResult
from zooalign.publish.publish import PublishReport
from zooalign.recipes.recipe import Recipe
from zooalign.recipes.run import RunResult
from zooalign.release.curves import CurvesFile
from zooalign.release.provenance import Provenance
from zooalign.release.results import json_text
from zooalign.report.write import ReportResult
from zooalign.symmetry.explanation import Explanation
from zooalign.zoo.new_plugin import NewPluginResult

__all__ = ["TYPES", "generate"]

TYPES: Mapping[str, Any] = {
    "align": AlignResult,
    "apply": ApplyReport,
    "barrier": BarrierResult,
    "check": CheckReport,
    "connectivity": ConnectivityResult,
    "coverage": CoverageResult,
    "demo": DemoReport,
    "error": ErrorResult,
    "explain": Explanation,
    "lora": LoraReport,
    "merge": MergeResult,
    "new-plugin": NewPluginResult,
    "plan": Plan,
    "plugins": PluginsResult,
    "publish": PublishReport,
    "report": ReportResult,
    "reproduce": ReproduceReport,
    "run": RunResult,
    "recipe.file": Recipe,
    "spec": SpecResult,
    "verify": VerifyResult,
    "barrier.file": CurvesFile,
    "digests.file": dict[str, str],
    "element.file": ElementFile,
    "permutation.file": PermutationFile,
    "policy.file": Policy,
    "provenance.file": Provenance,
    "spec.file": SpecFile,
}


def generate() -> dict[str, str]:
    """The text of every schema, by its name."""
    # The parameters of checks have types of their own.
    schemas = {
        name: msgspec.json.schema(type_, schema_hook=lambda _: {"description": "a parameter"})
        for name, type_ in TYPES.items()
    }
    for schema in schemas.values():
        for definition in schema.get("$defs", {}).values():
            if "description" in definition:  # msgspec before 0.23 dedents it, later ones do not
                definition["description"] = inspect.cleandoc(definition["description"])
    policy = schemas["policy.file"]["$defs"]["Policy"]
    del policy["properties"]["source"]  # where it was read from
    policy["additionalProperties"] = False
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {
        name: json_text({**dialect, **schema}, indent=1) + "\n" for name, schema in schemas.items()
    }


if __name__ == "__main__":
    for name, text in generate().items():
        (Path(__file__).parent / f"{name}.json").write_text(text, encoding="utf-8")
