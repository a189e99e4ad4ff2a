"""The table of commands: for each its words, its configuration and its function."""

from __future__ import annotations

from dataclasses import dataclass

from semhead_lib.conf import data, models, runs


@dataclass(frozen=True)
class Command:
    """One command: `semhead NAME POSITIONAL... key=value ...`."""

    name: str  # one or two words, as typed
    summary: str  # one line of help
    # "module:function", called with the composed configuration; returns an exit code or None
    function: str
    config: type  # of semhead_lib.conf
    positional: tuple[str, ...] = ()  # keys that may be given without their names, in this order
    # a key of paths that all words without a name belong to; instead of `positional`
    many: str | None = None
    # processes that torchrun started share the work; any other command is the first one's alone
    shared: bool = False

    @property
    def usage(self) -> str:
        """The command and what may follow without a name."""
        words = [key.upper() for key in self.positional] + (
            [f"{self.many.upper()}..."] if self.many else []
        )
        return " ".join([self.name, *words])


COMMANDS = (
    Command(
        "synthesize",
        "make a multi-view dataset of heads",
        "semhead_lib.commands.data:synthesize",
        data.Synthesize,
        shared=True,
    ),
    Command(
        "data check",
        "check a dataset for damage; one line for each finding",
        "semhead_lib.commands.data:data_check",
        data.Check,
        positional=("path",),
    ),
    Command(
        "data portraits",
        "select and align faces from any images, for source=kontext; the same command resumes",
        "semhead_lib.commands.data:data_portraits",
        data.Portraits,
        positional=("src", "out"),
    ),
    Command(
        "data import",
        "import an EG3D or PanoHead dataset, or a calibrated capture",
        "semhead_lib.commands.data:data_import",
        data.Import,
        positional=("src", "out"),
    ),
    Command(
        "data export",
        "export a dataset to EG3D's format (folder or zip)",
        "semhead_lib.commands.data:data_export",
        data.Export,
        positional=("path", "out"),
    ),
    Command(
        "data pack",
        "compress a dataset into one small file, for machines with a slow connection",
        "semhead_lib.commands.data:data_pack",
        data.Pack,
        positional=("path", "out"),
    ),
    Command(
        "data encode",
        "store the semantic feature of every subject's frontal view in a dataset",
        "semhead_lib.commands.data:data_encode",
        data.Encode,
        positional=("path",),
    ),
    Command(
        "headclip train",
        "train and evaluate the embedded CLIP, and write its card",
        "semhead_lib.commands.models:headclip_train",
        models.HeadclipTrain,
        positional=("out",),
    ),
    Command(
        "frontal train",
        "train the predictor of the frontal feature from any view, and write its card",
        "semhead_lib.commands.models:frontal_train",
        models.FrontalTrain,
        positional=("data", "out"),
    ),
    Command(
        "finder train",
        "train the network that finds heads in photographs, from any side; the same command resumes",
        "semhead_lib.commands.models:finder_train",
        models.FinderTrain,
        positional=("data", "out"),
    ),
    Command(
        "judge train",
        "train headjudge, the network whose features metrics use, and write its card",
        "semhead_lib.commands.models:judge_train",
        models.JudgeTrain,
        positional=("out",),
    ),
    Command(
        "train",
        "train a generator; the same command resumes",
        "semhead_lib.commands.models:train",
        models.Train,
        positional=("data", "out"),
        shared=True,
    ),
    Command(
        "reconstruct",
        "train a generator by reconstruction, as a warm start for training",
        "semhead_lib.commands.models:reconstruct",
        models.Reconstruct,
        positional=("data", "out"),
    ),
    Command(
        "evaluate",
        "evaluate a generator, or rendered images, at each azimuth against unseen subjects",
        "semhead_lib.commands.models:evaluate",
        models.Evaluate,
        positional=("model", "data", "out"),
    ),
    Command(
        "compare",
        "evaluate several generators by one protocol, side by side; the same command resumes",
        "semhead_lib.commands.models:compare",
        models.Compare,
        many="generators",
    ),
    Command(
        "render-plan",
        "write the cameras, seeds and conditions that another generator has to render for a "
        "comparison",
        "semhead_lib.commands.models:render_plan",
        models.RenderPlan,
        positional=("out",),
    ),
    Command(
        "sample",
        "sample heads of a generator and render them from all around: an image and a video",
        "semhead_lib.commands.models:sample",
        models.Sample,
        positional=("model", "out"),
    ),
    Command(
        "rejection",
        "measure quality and diversity against the share of rejected heads",
        "semhead_lib.commands.models:rejection",
        models.Rejection,
        positional=("model", "data", "out"),
    ),
    Command(
        "invert",
        "fit a head to photographs and render it from all sides; the same command resumes",
        "semhead_lib.commands.models:invert",
        models.Invert,
        many="photos",
    ),
    Command(
        "inverter train",
        "train a w encoder for a generator, to initialise inversions; the same command resumes",
        "semhead_lib.commands.models:inverter_train",
        models.InverterTrain,
        positional=("model", "out"),
    ),
    Command(
        "reproduce",
        "execute the notebooks of a profile; the same command resumes",
        "semhead_lib.commands.runs:reproduce",
        runs.Reproduce,
        positional=("profile",),
    ),
    Command(
        "ablate",
        "execute the trainings of a study and compare them; the same command resumes",
        "semhead_lib.commands.runs:ablate",
        runs.Ablate,
        positional=("study",),
    ),
    Command(
        "contest",
        "train several designs of a generator for equal time and compare them",
        "semhead_lib.commands.runs:contest",
        runs.Contest,
        positional=("contest",),
    ),
    Command(
        "doctor",
        "report what is installed, compiled and found, and how to fix what is not",
        "semhead_lib.commands.runs:doctor",
        runs.Doctor,
    ),
)
