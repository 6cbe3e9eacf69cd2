"""The settings of every operation: what the command line, Python and the provenance share.

Each field is a keyword in Python and an option of the command, whose help, name and limits its
type has (:func:`option`). Importing this module is cheap, as ``--help`` does it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from msgspec import Meta

__all__ = [
    "AlignSettings",
    "ApplySettings",
    "BarrierSettings",
    "CheckRequest",
    "ConnectivitySettings",
    "DemoSettings",
    "Loading",
    "MergeSettings",
    "OpenSettings",
    "PublishSettings",
    "ReproduceSettings",
    "VerifySettings",
]

DEFAULT_METHOD = "auto"


def option(help: str, *, flag: str | None = None, metavar: str | None = None) -> Meta:
    """The help of a field's option; ``flag`` is its name where it is not the field's."""
    return Meta(description=help, extra={"flag": flag, "metavar": metavar})


def _method(*more: str) -> Meta:
    """The name of a matching method, or one of some further names.

    The command line reads the methods and what they need from the table of them.
    """
    return Meta(description="How units are matched.", extra={"methods": more})


AtLeastOne = Annotated[int, Meta(ge=1)]
Model = Annotated[
    str | None,
    option(
        "The architecture, in place of what the configuration beside the weights says; "
        "needed for a bare .safetensors file.",
        metavar="REF",
    ),
]
AllowPickle = Annotated[bool, option("Read .bin, .pth and .pt files too (with weights_only=True).")]
Overwrite = Annotated[bool, option("Replace a model's directory that is there.")]
MatchingData = Annotated[
    str | None, option("Image folder, .npz or py:module:callable.", metavar="DATA")
]
ScoredData = Annotated[str, option("Data to score on, with targets.", metavar="DATA")]
Calibration = Annotated[
    str | None, option("For matching and statistics [default: --data].", metavar="DATA")
]
Alphas = Annotated[
    Annotated[int, Meta(ge=2)],
    option("Points on the line between two models; an odd number has the midpoint."),
]
Device = Annotated[str, option("Where models run, e.g. cuda.")]


@dataclass(frozen=True)
class Loading:
    """How data is read: rows of a batch, and at most how many rows of each data set."""

    batch_size: Annotated[AtLeastOne, option("Rows.")] = 128
    limit: Annotated[AtLeastOne | None, option("Read at most this many rows of each data set.")] = (
        None
    )


@dataclass(frozen=True, kw_only=True)
class OpenSettings:
    """How a model is opened."""

    model: Model = None
    allow_pickle: AllowPickle = False


@dataclass(frozen=True, kw_only=True)
class VerifySettings(OpenSettings):
    """Settings of the numeric check of a spec (:func:`zooalign.symmetry.verify`)."""

    seed: int = 0
    trials: AtLeastOne = 1
    alone: Annotated[
        bool, option("Check every group alone too (a run of the model each).", flag="--each")
    ] = False


@dataclass(frozen=True, kw_only=True)
class ApplySettings(OpenSettings):
    """Settings of applying a published permutation."""

    overwrite: Overwrite = False


@dataclass(frozen=True, kw_only=True)
class AlignSettings(OpenSettings):
    """Settings of aligning one model to another.

    ``options`` are those of the matching method.
    """

    overwrite: Overwrite = False
    method: Annotated[str, _method()] = DEFAULT_METHOD
    options: Mapping[str, Any] = field(default_factory=dict)
    data: MatchingData = None
    evaluate: Annotated[
        str | None, option("Measure the barrier on this data (targets).", metavar="DATA")
    ] = None
    alphas: Alphas = 25
    loading: Loading = Loading()
    seed: int = 0
    device: Device = "cpu"

    # What the provenance keeps under "settings"; method, seed and data are fields of their own.
    recorded: ClassVar[tuple[str, ...]] = (
        *("model", "evaluate", "alphas"),
        *("device", "options", "allow_pickle"),
    )

    def record(self) -> dict[str, Any]:
        """The ``settings`` of a provenance."""
        return {name: getattr(self, name) for name in self.recorded}


@dataclass(frozen=True, kw_only=True)
class MergeSettings(AlignSettings):
    """Settings of a merge.

    ``weights`` are divided by their sum. ``through`` is ``reference`` (each model is matched to
    the first alone) or one of :data:`zooalign.matching.many.WAYS` (all at once, by
    ``activation`` or ``weight``, to the order of the first one's units).
    """

    method: Annotated[str, _method("none")] = DEFAULT_METHOD
    evaluate: Annotated[
        str | None, option("Measure accuracy and barriers on this data.", metavar="DATA")
    ] = None
    weights: Annotated[
        tuple[float, ...] | None,
        option("One number per model; equal by default.", metavar="W,W,..."),
    ] = None
    reset: Annotated[
        bool, option("Recompute running statistics on --data where the architecture has them.")
    ] = True
    through: Annotated[
        str,
        option(
            "Each model to the first, or all at once (by activation or weight).",
            metavar="reference|universe|mean|auto",
        ),
    ] = "reference"
    repair: Annotated[bool, option("REPAIR the layers no norm follows.")] = False

    recorded: ClassVar[tuple[str, ...]] = (*AlignSettings.recorded, "reset", "repair")

    def record(self) -> dict[str, Any]:
        """As of an alignment; ``through`` is left out where it is the default."""
        return super().record() | ({} if self.through == "reference" else {"through": self.through})


@dataclass(frozen=True, kw_only=True)
class BarrierSettings(OpenSettings):
    """Settings of a barrier.

    ``align`` is ``none``, to measure the models as they are, or a matching method.
    """

    data: ScoredData
    test: Annotated[str | None, option("A second data set to score on.", metavar="DATA")] = None
    calibration: Calibration = None
    align: Annotated[
        str,
        option(
            "Align B to A first; by default both are measured as they are.",
            metavar="none|activation|weight",
        ),
    ] = "none"
    reset: Annotated[
        bool, option("Recompute running statistics strictly between A and B, where there are any.")
    ] = True
    alphas: Alphas = 25
    plot: Annotated[str | None, option("Draw the curve as .svg or .png.", metavar="FILE")] = None
    loading: Loading = Loading()
    seed: int = 0
    device: Device = "cpu"


@dataclass(frozen=True, kw_only=True)
class ConnectivitySettings(OpenSettings):
    """Settings of the connectivity of two models or more.

    ``references`` is how many of the models are tried as the reference.
    """

    data: ScoredData
    calibration: Calibration = None
    trajectories: Annotated[
        bool, option("A, B, ... are directories of checkpoints of one training each.")
    ] = False
    method: Annotated[str, _method()] = "activation"
    options: Mapping[str, Any] = field(default_factory=dict)
    through: Annotated[
        str,
        option("How all are brought in one order at once.", metavar="universe|mean|reference|auto"),
    ] = "universe"
    references: Annotated[
        AtLeastOne, option("How many of the models are tried as the reference.")
    ] = 1
    reset: Annotated[
        bool, option("Recompute running statistics strictly between models, where there are any.")
    ] = True
    alphas: Alphas = 25
    steps: Annotated[
        AtLeastOne,
        option("Points along an edge of the simplex, less one; a multiple of 3 has its centre."),
    ] = 6
    output: Annotated[
        str | None,
        option(
            "Write the report, a page of tables and pictures to DIR.",
            flag="-o/--output",
            metavar="DIR",
        ),
    ] = None
    overwrite: Annotated[bool, option("Replace a directory that is there.")] = False
    loading: Loading = Loading()
    seed: int = 0
    device: Device = "cpu"


@dataclass(frozen=True, kw_only=True)
class CheckRequest(OpenSettings):
    """What the release gate looks at besides the release.

    ``parents`` are the models that it was made from; their weights, permuted and averaged as the
    provenance says, must be the release's byte for byte. ``data`` has targets.
    """

    parents: Annotated[
        tuple[str, ...],
        option(
            "A model it was made from; the weights are made anew and compared. Repeatable.",
            flag="--parent",
            metavar="REF",
        ),
    ] = ()
    recorded_parents: Annotated[bool, option("Take the sources that the provenance records.")] = (
        False
    )
    data: Annotated[
        str | None, option("Measure barrier and statistics on this data.", metavar="DATA")
    ] = None
    loading: Loading = Loading()
    headers_only: Annotated[bool, option("Download and read no values of weights.")] = False
    against: Annotated[
        str | None, option("The directory that REF must equal, file by file.", metavar="DIR")
    ] = None
    rerun: Annotated[
        bool, option("Make it again from the provenance, and compare.", flag="--reproduce")
    ] = False


@dataclass(frozen=True, kw_only=True)
class PublishSettings:
    """Settings of publishing a directory.

    With ``dry_run`` no request is sent to the hub. ``parent_commit`` has seven digits at least.
    """

    pull_request: Annotated[
        bool, option("Open a pull request instead of a commit.", flag="--pr")
    ] = False
    dry_run: Annotated[bool, option("Check, and list what would be pushed.")] = False
    force: Annotated[bool, option("Publish although the check finds faults.")] = False
    private: Annotated[bool, option("Make a new repo private; refuse a public one.")] = False
    permutation_only: Annotated[bool, option("Spec, permutation, provenance and card.")] = False
    parent_commit: Annotated[
        str | None, option("The head that the repo must have.", metavar="COMMIT")
    ] = None
    message: Annotated[str | None, option("The commit's title.", metavar="TEXT")] = None


@dataclass(frozen=True, kw_only=True)
class ReproduceSettings:
    """Settings of making a release again.

    ``root`` is the working directory by default; it is that of the process while it runs.
    ``allow_code`` runs the Python code that the record names.
    """

    root: Annotated[
        str | None, option("Where recorded relative paths start from.", metavar="DIR")
    ] = None
    allow_code: Annotated[bool, option("Follow py: references of the record.")] = False
    allow_pickle: Annotated[bool, option("Read pickled weights where the record did.")] = False
    device: Annotated[
        str | None, option("Run there, in place of the recorded device.", metavar="NAME")
    ] = None


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """How much the demo computes; ``calibration`` is rows, and no option of the command."""

    epochs: Annotated[AtLeastOne, option("Of training.")] = 10
    calibration: int = 512
    alphas: Alphas = 25
    seed: int = 0
