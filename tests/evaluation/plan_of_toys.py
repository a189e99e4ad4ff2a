"""A set of images of the stand-in, by a plan."""

import json

from toy_renderer import StandIn

from semhead_lib.evaluation import plan_renderer
from semhead_lib.evaluation.judging import reference_subjects
from semhead_lib.evaluation.render_plan import RenderPlan


def planned_set(data, folder, heads: int = 48):
    RenderPlan.of_reference(reference_subjects(data), heads).save(folder / "plan.json")
    (folder / "set").mkdir()
    plan = json.loads((folder / "plan.json").read_text())
    plan_renderer.render_plan(StandIn(), plan, folder / "set", say=len, batch=64)
    return folder / "set"
