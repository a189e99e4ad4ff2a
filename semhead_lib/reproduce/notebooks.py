"""Notebooks and the parameters that they take, read without executing them."""

from __future__ import annotations

import ast
import hashlib
import json
import math
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Parameter:
    """One name of a notebook's `parameters` cell."""

    name: str
    default: Any
    kind: Any  # a type, taken from the annotation, else from the default; Any when neither says

    def accepts(self, value: Any) -> bool:
        """Whether `value` has this parameter's type; whole numbers pass for floats, booleans never
        for numbers."""
        return _fits(value, self.kind)

    def in_range(self, value: Any) -> bool:
        """Whether numbers are finite, and not negative unless the default is."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return True
        default = self.default if isinstance(self.default, (int, float)) else 0
        return math.isfinite(value) and (value >= 0 or default < 0)

    @property
    def kind_name(self) -> str:
        """The type as a person writes it."""
        return (
            getattr(self.kind, "__name__", str(self.kind))
            if not typing.get_args(self.kind)
            else str(self.kind)
        )


@dataclass(frozen=True)
class Notebook:
    """A notebook on disk, as far as a run needs to know it."""

    name: str  # file name without its ending
    path: Path
    title: str  # its first heading
    parameters: dict[str, Parameter]
    digest: str  # of its cells' sources: outputs and metadata do not count
    code_digest: str  # of its code cells' sources: prose does not count either


def read_notebook(path: Path) -> Notebook:
    """Read a notebook's title and the literals of its cell tagged `parameters`.

    Raises ValueError when it is no notebook or when that cell holds anything but assignments of
    literals.
    """
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a notebook ({type(error).__name__}: {error})") from None
    headings = [
        line
        for kind, text in sources
        if kind == "markdown"
        for line in text.splitlines()
        if line[:1] == "#"
    ]
    tagged = [
        i
        for i, cell in enumerate(cells)
        if "parameters" in cell.get("metadata", {}).get("tags", [])
    ]
    parameters = _parameters(sources[tagged[0]][1], path) if tagged else {}
    code = [text for kind, text in sources if kind == "code"]
    digests = (
        hashlib.sha256(json.dumps(content).encode()).hexdigest()
        for content in ([sources, tagged], code)
    )
    title = headings[0].lstrip("# ") if headings else path.stem
    return Notebook(path.stem, path, title, parameters, *digests)


def _parameters(source: str, path: Path) -> dict[str, Parameter]:
    found = {}
    try:
        for node in ast.parse(source).body:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # a docstring
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
                name, kind = node.target.id, _kind(ast.unparse(node.annotation))
                default = ast.literal_eval(node.value)
            elif (
                isinstance(node, ast.Assign)
                and len(node.targets) == 1
                and isinstance(node.targets[0], ast.Name)
            ):
                name, default = node.targets[0].id, ast.literal_eval(node.value)
                kind = Any if default is None else type(default)
            else:
                raise ValueError(f"'{ast.unparse(node)}' is no assignment")
            found[name] = Parameter(name, default, kind)
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"{path}: its parameters cell must assign literals only: {error}"
        ) from None
    return found


def _kind(annotation: str) -> Any:
    names: dict[str, Any] = {
        kind.__name__: kind for kind in (int, float, str, bool, list, dict, tuple)
    }

    def build(node: ast.expr) -> Any:
        match node:
            case ast.Name(id=name) if name in names:
                return names[name]
            case ast.Constant(value=None):
                return None
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return build(left) | build(right)
            case ast.Subscript(
                value=ast.Name(id="list" | "dict" | "tuple" as name), slice=ast.Tuple(elts=inner)
            ):
                return names[name][tuple(map(build, inner))]
            case ast.Subscript(value=ast.Name(id="list" | "tuple" as name), slice=inner):
                return names[name][build(inner)]
        raise ValueError(f"'{annotation}' is no type of literals")

    return build(ast.parse(annotation, mode="eval").body)


def _fits(value: Any, kind: Any) -> bool:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if kind is None or kind is type(None):
        return value is None
    if origin is types.UnionType:
        return any(_fits(value, inner) for inner in arguments)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if (origin or kind) in (list, tuple):
        inner = arguments[0] if arguments else Any
        return isinstance(value, (list, tuple)) and all(_fits(item, inner) for item in value)
    if (origin or kind) is dict:
        return isinstance(value, dict)
    return isinstance(value, kind)
