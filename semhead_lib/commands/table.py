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
        "look for damage in a dataset; one line for each finding",
        "semhead_lib.commands.data:data_check",
        data.Check,
        positional=("path",),
    ),
    Command(
        "data portraits",
        "choose faces from any images and align them, for source=kontext; the same command goes on",
        "semhead_lib.commands.data:data_portraits",
        data.Portraits,
        positional=("src", "out"),
    ),
    Command(
        "data import",
        "convert an EG3D or PanoHead dataset, or a calibrated capture, into ours",
        "semhead_lib.commands.data:data_import",
        data.Import,
        positional=("src", "out"),
    ),
    Command(
        "data export",
        "convert a dataset of ours into EG3D's form (folder or zip)",
        "semhead_lib.commands.data:data_export",
        data.Export,
        positional=("path", "out"),
    ),
    Command(
        "data pack",
        "make a dataset one small file, for a machine that gets its data over a thin line",
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
        "train the embedded CLIP again, judge it, and write its card",
        "semhead_lib.commands.models:headclip_train",
        models.HeadclipTrain,
        positional=("out",),
    ),
    Command(
        "frontal train",
        "train what predicts the feature of a front from any side, and write its card",
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
        "train headjudge, the network whose features judge generators, and write its card",
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
        "teach a generator to reconstruct subjects, to begin a training with",
        "semhead_lib.commands.models:reconstruct",
        models.Reconstruct,
        positional=("data", "out"),
    ),
    Command(
        "evaluate",
        "judge a generator, or images of any, from every side, against subjects it has not seen",
        "semhead_lib.commands.models:evaluate",
        models.Evaluate,
        positional=("model", "data", "out"),
    ),
    Command(
        "compare",
        "judge several generators by one protocol, side by side; the same command resumes",
        "semhead_lib.commands.models:compare",
        models.Compare,
        many="generators",
    ),
    Command(
        "render-plan",
        "write what a generator elsewhere has to render to be compared: cameras, seeds, conditions",
        "semhead_lib.commands.models:render_plan",
        models.RenderPlan,
        positional=("out",),
    ),
    Command(
        "sample",
        "draw heads of a generator from all around: an image and a video",
        "semhead_lib.commands.models:sample",
        models.Sample,
        positional=("model", "out"),
    ),
    Command(
        "rejection",
        "measure what rejecting heads costs and gains: quality and diversity by share",
        "semhead_lib.commands.models:rejection",
        models.Rejection,
        positional=("model", "data", "out"),
    ),
    Command(
        "invert",
        "fit a head to photographs, and show it from everywhere; the same command goes on",
        "semhead_lib.commands.models:invert",
        models.Invert,
        many="photos",
    ),
    Command(
        "inverter train",
        "train the style encoder of a generator, a start for inversions; the same command resumes",
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
        "execute the trainings of a study and compare them; the same command goes on",
        "semhead_lib.commands.runs:ablate",
        runs.Ablate,
        positional=("study",),
    ),
    Command(
        "contest",
        "train designs of a generator for the same minutes and compare them",
        "semhead_lib.commands.runs:contest",
        runs.Contest,
        positional=("contest",),
    ),
    Command(
        "doctor",
        "say what is installed, compiled and found, and how to mend what is not",
        "semhead_lib.commands.runs:doctor",
        runs.Doctor,
    ),
)
