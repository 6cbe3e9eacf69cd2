"""The settings of every operation: what the command line, Python and the provenance share.

Each field is a keyword in Python and an option of the command, whose help, name and limits its
type has (:func:`option`). Importing this module is cheap, as ``--help`` does it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from zooalign.kinds import Precision, Symmetries

__all__ = [
    "AlignSettings",
    "ApplySettings",
    "BarrierSettings",
    "CheckRequest",
    "ConnectivitySettings",
    "DemoSettings",
    "Loading",
    "LoraSettings",
    "Measuring",
    "MergeSettings",
    "Naming",
    "OpenSettings",
    "PublishSettings",
    "ReproduceSettings",
    "RunSettings",
    "SymmetrySettings",
    "VerifySettings",
]

DEFAULT_METHOD = "auto"


def option(help: str, *, flag: str | None = None, metavar: str | None = None) -> Meta:
    """The help of a field's option; ``flag`` is its name where it is not the field's."""
    return Meta(description=help, extra={"flag": flag, "metavar": metavar})


def _method(*more: str, help: str = "How units are matched") -> Meta:
    """The name of a matching method, or one of some further names.

    The command line reads the methods and what they need from the table of them.
    """
    return Meta(description=help, extra={"methods": more})


AtLeastOne = Annotated[int, Meta(ge=1)]
ModelOption = Annotated[
    str | None,
    option(
        "The architecture, overriding the config next to the weights; required for a bare "
        ".safetensors file.",
        metavar="REF",
    ),
]
AllowPickle = Annotated[
    bool, option("Also read .bin, .pth and .pt files (with weights_only=True).")
]
AllowValueDependent = Annotated[
    bool,
    option(
        "Accept an architecture in which values of inputs (lengths, a mask) decide the steps: the "
        "spec holds for inputs that decide alike."
    ),
]
Overwrite = Annotated[bool, option("Replace an existing model directory.")]
DryRun = Annotated[bool, option("Do and check everything, but write nothing.")]
Seed = Annotated[int, Meta(ge=0), option("Seed for everything that is random.")]
MatchingData = Annotated[
    str | None,
    option(
        "Data for matching (docs/references.md), e.g. a folder, an .npz file, py:module:callable.",
        metavar="DATA",
    ),
]
ScoredData = Annotated[str, option("Labelled data to evaluate on.", metavar="DATA")]
Calibration = Annotated[
    str | None,
    option("Data for matching and running statistics [default: --data].", metavar="DATA"),
]
Alphas = Annotated[
    Annotated[int, Meta(ge=2)],
    option("Number of points on the line; an odd number includes the midpoint."),
]
DifferentConfigs = Annotated[
    str | None,
    option(
        "Accept that configurations differ in these fields: an average, and matching on data, "
        "use the first one's.",
        metavar="FIELD,...",
    ),
]
Memory = Annotated[
    str | None,
    option(
        "Memory that may be taken, e.g. 8GB: what needs more is refused before it starts.",
        metavar="SIZE",
    ),
]
Device = Annotated[str, option("Device that the models run on, e.g. cuda.")]


@dataclass(frozen=True)
class Loading:
    """How data is read: rows per batch, and the maximum number of rows of each data set."""

    batch_size: Annotated[AtLeastOne, option("Rows per batch.")] = 128
    limit: Annotated[
        AtLeastOne | None, option("Maximum number of rows read from each data set.")
    ] = None


@dataclass(frozen=True)
class Measuring:
    """What outputs are scored by: names of measures, or ``py:module:callable``.

    ``task`` is what the targets call for.
    """

    loss: Annotated[
        str,
        option(
            "Loss, better when lower: task (what the targets call for), cross-entropy, "
            "binary-cross-entropy, mse, mae or py:module:callable.",
            metavar="NAME",
        ),
    ] = "task"
    metric: Annotated[
        str,
        option(
            "Metric: task, accuracy, dice, miou, perplexity, mse, mae or "
            "py:module:callable?better=lower.",
            metavar="NAME",
        ),
    ] = "task"

    def record(self) -> dict[str, Any]:
        """For a provenance: nothing where nothing was named."""
        return {} if self == Measuring() else {"measuring": dict(vars(self))}


@dataclass(frozen=True)
class Naming:
    """What becomes of tokens and labels that not all models have; None refuses them.

    Of ``tokens`` all are kept (``union``), those that all models have (``intersection``), or the
    first model's (``first``). ``head`` is the first model's, or there is none.
    """

    tokens: Annotated[
        str | None,
        option(
            "Where vocabularies differ, the tokens to keep: of all models, common to all, or of "
            "the first [default: refuse].",
            metavar="union|intersection|first",
        ),
    ] = None
    head: Annotated[
        str | None,
        option(
            "Where labels differ, merge the rest and keep the first model's classifier, or write "
            "the merge without one [default: refuse].",
            metavar="first|none",
        ),
    ] = None

    @property
    def accepted(self) -> tuple[Literal["labels", "tokens"], ...]:
        """The kinds of names that may be others."""
        labels: tuple[Literal["labels"], ...] = ("labels",) if self.head == "first" else ()
        return (*labels, "tokens") if self.tokens is not None else labels

    def record(self) -> dict[str, Any]:
        """For a provenance: nothing where nothing was chosen."""
        return {} if self == Naming() else {"naming": dict(vars(self))}


@dataclass(frozen=True, kw_only=True)
class OpenSettings:
    """How a model is opened."""

    model: ModelOption = None
    allow_pickle: AllowPickle = False
    allow_value_dependent: AllowValueDependent = False


@dataclass(frozen=True, kw_only=True)
class SymmetrySettings(OpenSettings):
    """How a model is opened, and how far its symmetries go."""

    symmetries: Annotated[
        Symmetries,
        option(
            "How far symmetries go: permutations; also signs; also scales (monomial); also "
            "rotations and invertible maps (linear)."
        ),
    ] = "permutations"


@dataclass(frozen=True, kw_only=True)
class VerifySettings(SymmetrySettings):
    """Settings of the proof of a spec (:func:`zooalign.symmetry.verify`)."""

    seed: Seed = 0
    members: Annotated[
        AtLeastOne, option("Random members of the group that each operator is checked with.")
    ] = 3


@dataclass(frozen=True, kw_only=True)
class ApplySettings(OpenSettings):
    """Settings of applying a published permutation."""

    overwrite: Overwrite = False
    dry_run: DryRun = False


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Settings of carrying a LoRA adapter."""

    overwrite: Overwrite = False
    dry_run: DryRun = False


@dataclass(frozen=True, kw_only=True)
class AlignSettings(SymmetrySettings):
    """Settings of aligning one model to another.

    ``options`` are those of the matching method.
    """

    overwrite: Overwrite = False
    dry_run: DryRun = False
    method: Annotated[str, _method()] = DEFAULT_METHOD
    options: Mapping[str, Any] = field(default_factory=dict)
    data: MatchingData = None
    evaluate: Annotated[
        str | None, option("Measure the barrier on this labelled data.", metavar="DATA")
    ] = None
    alphas: Alphas = 25
    loading: Loading = Loading()
    measuring: Measuring = Measuring()
    seed: Seed = 0
    device: Device = "cpu"
    memory: Memory = None
    allow_different_configs: DifferentConfigs = None

    # What the provenance keeps under "settings"; it has separate fields for method, seed and data.
    recorded: ClassVar[tuple[str, ...]] = (
        *("model", "evaluate", "alphas"),
        *("device", "options", "allow_pickle"),
    )

    def record(self) -> dict[str, Any]:
        """The ``settings`` of a provenance; what was accepted is left out where nothing was."""
        names = ("allow_value_dependent", "allow_different_configs")
        accepted = {name: getattr(self, name) for name in names if getattr(self, name)}
        recorded = {name: getattr(self, name) for name in self.recorded}
        beyond = self.symmetries != "permutations"
        symmetries = {"symmetries": self.symmetries} if beyond else {}
        return recorded | accepted | symmetries | self.measuring.record()


@dataclass(frozen=True, kw_only=True)
class MergeSettings(AlignSettings):
    """Settings of a merge.

    ``weights`` are divided by their sum. ``through`` is ``reference`` (each model is matched to
    the first alone) or one of :data:`zooalign.matching.many.WAYS` (all at once, by
    ``activation`` or ``weight``, to the order of the first one's units). ``refit_options`` are
    fields of :class:`zooalign.merging.refit.RefitSettings`. ``combine`` is a
    :class:`~zooalign.merging.combine.Combination` as JSON, in place of weights; recipes set it.
    """

    method: Annotated[str, _method("none")] = DEFAULT_METHOD
    evaluate: Annotated[
        str | None, option("Measure accuracy and barriers on this labelled data.", metavar="DATA")
    ] = None
    weights: Annotated[
        tuple[float, ...] | None,
        option("One weight per model [default: equal].", metavar="W,W,..."),
    ] = None
    reset: Annotated[
        bool, option("Recompute running statistics on --data, if the architecture has any.")
    ] = True
    through: Annotated[
        str,
        option(
            "Match each model to the first, or all jointly (activation, weight).",
            metavar="reference|universe|mean|auto",
        ),
    ] = "reference"
    refit: Annotated[
        str,
        option(
            "Refit the averaged weights to what the parents compute on --data, if there is any.",
            metavar="auto|none|least-squares|features",
        ),
    ] = "auto"
    refit_options: Annotated[
        Mapping[str, Any],
        option("Set any option of the refit, e.g. labels=true or ridge=0.03.", flag="--refit-set"),
    ] = field(default_factory=dict)
    repair: Annotated[
        bool,
        option(
            "Apply REPAIR to layers not followed by a normalisation layer, in place of a refit."
        ),
    ] = False
    dtype: Annotated[
        Precision | None,
        option("What the merge is written in [default: what holds the values of all models]."),
    ] = None
    naming: Naming = Naming()
    combine: str | None = None

    recorded: ClassVar[tuple[str, ...]] = (*AlignSettings.recorded, "reset", "repair", "refit")

    def record(self) -> dict[str, Any]:
        """As of an alignment; what is left at its default is left out."""
        through = {} if self.through == "reference" else {"through": self.through}
        refit = {"refit_options": dict(self.refit_options)} if self.refit_options else {}
        combine = {} if self.combine is None else {"combine": self.combine}
        dtype = {} if self.dtype is None else {"dtype": self.dtype}
        return super().record() | through | refit | combine | dtype | self.naming.record()


@dataclass(frozen=True, kw_only=True)
class BarrierSettings(SymmetrySettings):
    """Settings of a barrier.

    ``align`` is ``none``, to measure the models as they are, or a matching method; or several of
    these, separated by commas, for a curve each.
    """

    data: ScoredData
    test: Annotated[
        str | None, option("A second labelled data set to evaluate on.", metavar="DATA")
    ] = None
    calibration: Calibration = None
    align: Annotated[
        str,
        _method("none", help="Align B to A first; several, separated by commas, are compared"),
    ] = "none"
    reset: Annotated[
        bool, option("Recompute running statistics at the points between A and B, if any.")
    ] = True
    alphas: Alphas = 25
    plot: Annotated[
        str | None, option("Plot the curve to a .svg or .png file.", metavar="FILE")
    ] = None
    dry_run: DryRun = False
    loading: Loading = Loading()
    measuring: Measuring = Measuring()
    seed: Seed = 0
    device: Device = "cpu"


@dataclass(frozen=True, kw_only=True)
class ConnectivitySettings(OpenSettings):
    """Settings of the connectivity of two models or more.

    ``references`` is how many of the models are tried as the reference.
    """

    data: ScoredData
    calibration: Calibration = None
    trajectories: Annotated[
        bool, option("A, B, ... are directories, each with the checkpoints of one training run.")
    ] = False
    method: Annotated[str, _method()] = "activation"
    options: Mapping[str, Any] = field(default_factory=dict)
    through: Annotated[
        str,
        option("How all models are aligned jointly.", metavar="universe|mean|reference|auto"),
    ] = "universe"
    references: Annotated[AtLeastOne, option("Number of models to try as the reference.")] = 1
    reset: Annotated[
        bool, option("Recompute running statistics at the points between models, if any.")
    ] = True
    alphas: Alphas = 25
    steps: Annotated[
        AtLeastOne,
        option("Intervals along an edge of the simplex; a multiple of 3 includes the centre."),
    ] = 6
    output: Annotated[
        str | None,
        option(
            "Write the report as JSON, Markdown and plots to DIR.",
            flag="-o/--output",
            metavar="DIR",
        ),
    ] = None
    overwrite: Annotated[bool, option("Replace an existing report.")] = False
    dry_run: DryRun = False
    loading: Loading = Loading()
    measuring: Measuring = Measuring()
    seed: Seed = 0
    device: Device = "cpu"


@dataclass(frozen=True, kw_only=True)
class CheckRequest(OpenSettings):
    """What the release gate reads besides the release.

    ``parents`` are the source models. Their weights, permuted and averaged as the provenance
    says, must equal those of the release byte for byte. ``data`` is labelled.
    """

    parents: Annotated[
        tuple[str, ...],
        option(
            "A source model; the weights are recomputed from it and compared. Repeatable.",
            flag="--parent",
            metavar="REF",
        ),
    ] = ()
    recorded_parents: Annotated[
        bool, option("Use the source models recorded in the provenance.")
    ] = False
    data: Annotated[
        str | None,
        option("Check the barrier and running statistics on this labelled data.", metavar="DATA"),
    ] = None
    loading: Loading = Loading()
    headers_only: Annotated[
        bool, option("Read only the headers of weight files, not the values.")
    ] = False
    against: Annotated[
        str | None, option("A directory that REF must match, file by file.", metavar="DIR")
    ] = None
    rerun: Annotated[
        bool, option("Rerun the recorded operation and compare the result.", flag="--reproduce")
    ] = False


@dataclass(frozen=True, kw_only=True)
class PublishSettings:
    """Settings of publishing a directory.

    With ``dry_run`` no request is sent to the hub. ``parent_commit`` has seven digits at least.
    """

    pull_request: Annotated[
        bool,
        option("Open a pull request instead of committing to the default branch.", flag="--pr"),
    ] = False
    dry_run: Annotated[bool, option("Run the checks and list the files, but push nothing.")] = False
    force: Annotated[bool, option("Publish even if the checks fail.")] = False
    private: Annotated[
        bool, option("Create the repo as private; refuse an existing public one.")
    ] = False
    permutation_only: Annotated[
        bool, option("Publish the spec, permutation, provenance and card without the weights.")
    ] = False
    parent_commit: Annotated[
        str | None, option("Publish only if this commit is the head of the repo.", metavar="COMMIT")
    ] = None
    message: Annotated[str | None, option("Title of the commit.", metavar="TEXT")] = None


@dataclass(frozen=True, kw_only=True)
class ReproduceSettings:
    """Settings of reproducing a release.

    ``root`` is the working directory by default; the process works in it while it runs.
    ``allow_code`` runs the Python code that the provenance names.
    """

    root: Annotated[
        str | None,
        option("Directory that recorded relative paths are resolved against.", metavar="DIR"),
    ] = None
    allow_code: Annotated[
        bool, option("Run the Python code that the provenance names (py: references).")
    ] = False
    allow_pickle: Annotated[bool, option("Read pickled weights if the recorded operation did.")] = (
        False
    )
    device: Annotated[
        str | None, option("Device to run on instead of the recorded one.", metavar="NAME")
    ] = None


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings of running a recipe; ``output`` is by default the recipe's."""

    output: Annotated[
        str | None,
        option("Directory to write [default: the recipe's].", flag="-o/--output", metavar="DIR"),
    ] = None
    overwrite: Overwrite = False
    dry_run: DryRun = False
    allow_code: Annotated[
        bool, option("Run the Python code that the recipe names (py: references).")
    ] = False
    allow_pickle: AllowPickle = False


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """How much the demo computes; ``calibration`` is rows, and no option of the command."""

    epochs: Annotated[AtLeastOne, option("Number of training epochs.")] = 10
    calibration: int = 512
    alphas: Alphas = 25
    seed: Seed = 0
    dry_run: DryRun = False
