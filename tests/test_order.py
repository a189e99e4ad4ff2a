"""The library is one way: a stage imports from those before it, never from those after."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "semhead_lib"
FLOORS = (  # from the ground up; on a floor, too, a stage imports only from those to its left
    (
        "lazy",
        "errors",
        "settings",
        "old_names",
        "files",
        "atomic",
        "weights",
        "recipes",
        "progress",
        "devices",
        "cameras",
        "view_samplers",
    ),
    ("ops", "data"),
    ("metrics", "conditioning", "models"),
    ("viz", "training", "evaluation"),
    ("rejection", "inversion", "reproduce", "ablation"),
    ("heads", "facade", "api"),  # the façade, which the commands use too
    ("explore", "conf", "doctor", "commands", "cli", "__main__"),
)
ROOMS = {
    "subjects": 0,
    "dataset": 1,
    "jobs": 2,
    "parametric": 3,
    "portraits": 4,
    "kontext": 5,
}  # of data
STAGES = {stage: place for place, stage in enumerate(stage for floor in FLOORS for stage in floor)}


def modules() -> dict[str, ast.Module]:
    """Every module's dotted name below the package, and its syntax tree."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix("__init__").rstrip(".")] = ast.parse(path.read_text())
    return found


def imports(tree: ast.Module) -> set[str]:
    """What a module imports of this library, at its head or in its functions, as dotted names below
    the package."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    own = f"{PACKAGE.name}."
    return {name.removeprefix(own) for name in found if name.startswith(own)} - {"__version__"}


def against_the_order(order: dict[str, int], names: dict[str, set[str]]) -> list[str]:
    """Imports from a later place: `names` holds for each module the modules that it imports."""
    first = {
        name: name.split(".")[0]
        for name in (*names, *(i for imported in names.values() for i in imported))
    }
    return [
        f"{name} imports {other}"
        for name, imported in names.items()
        for other in sorted(imported)
        if order[first[name]] < order[first[other]]
    ]


def test_every_module_has_its_place():
    stages = {name.split(".")[0] for name in modules() if name}
    assert stages == set(STAGES), "a new stage is entered in FLOORS"
    assert {
        path.stem for path in (PACKAGE / "data").iterdir() if not path.stem.startswith("__")
    } == set(ROOMS)


def test_no_stage_imports_from_a_later_one():
    names = {
        name: imports(tree) for name, tree in modules().items() if name
    }  # the façade imports from all
    assert against_the_order(STAGES, names) == []
    assert against_the_order(STAGES, {"data.subjects": {"training.trainer.train"}}), (
        "the check itself finds one"
    )


def test_no_room_of_data_imports_from_a_later_one():
    inside = "data."
    names = {
        name.removeprefix(inside): {
            i.removeprefix(inside) for i in imports(tree) if i.startswith(inside)
        }
        for name, tree in modules().items()
        if name.startswith(inside)
    }
    # The landmarks are calibrated on parametric heads, and the views of a portrait are judged by the head finder
    assert against_the_order(ROOMS, names) == []


def test_modules_import_each_other_in_no_circle():
    trees = modules()
    names = {
        name: {known(i, trees) for i in imports(tree)} - {name, ""}
        for name, tree in trees.items()
        if name
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " imports ".join((*path[path.index(name) :], name))
        if name not in done:
            for other in sorted(names.get(name, ())):
                visit(other, (*path, name))
            done.add(name)

    for name in names:
        visit(name, ())


def known(name: str, trees: dict[str, ast.Module]) -> str:
    """The module of a dotted name, which may end in something that the module defines."""
    while name and name not in trees:
        name = name.rpartition(".")[0]
    return name
