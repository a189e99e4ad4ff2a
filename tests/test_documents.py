"""The documents: short where they should be, with links, commands, code and numbers that hold."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

import semhead_lib
from semhead_lib import cli

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
TOPICS = {
    "data",
    "conditioning",
    "engine",
    "training",
    "compare",
    "ablations",
    "inversion",
    "explorer",
    "scaling",
    "benchmarks",
}
GUIDES = [README, *PAGES, ROOT / "CONTRIBUTING.md", ROOT / "environments" / "README.md"]
DOCUMENTS = sorted(
    {
        *GUIDES,
        ROOT / "CHANGELOG.md",
        ROOT / "THIRD_PARTY.md",
        ROOT / "csrc" / "README.md",
        *(ROOT / "papermill_runs" / "reference").rglob("*.md"),
        *(ROOT / "semhead_lib" / "assets").rglob("*.md"),
    }
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def of_each(paths: list[Path]):
    return pytest.mark.parametrize("path", paths, ids=name_of)


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [code for found, code in FENCE.findall(text) if found == language]


def prose(text: str) -> str:
    """A document without its fenced blocks."""
    return FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them.

    >>> sorted(anchors("# One, two: `three`\\n## A B\\n## A B\\n"))
    ['a-b', 'a-b-1', 'one-two-three']
    """
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(text), re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        count = sum(bool(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other)) for other in found)
        found.add(f"{slug}-{count}" if count else slug)
    return found


def targets(text: str) -> list[str]:
    """Where a document's links and images point.

    >>> targets('[a](b.md#c) ![d](e.png) <img src="f.webp"> [g](https://h)')
    ['b.md#c', 'e.png', 'https://h', 'f.webp']
    """
    text = prose(text)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img [^>]*src="([^"]+)"', text)


def broken_links(path: Path) -> list[str]:
    """Relative links of a document that lead to no file of the repository, or no heading of it."""
    broken = []
    for target in targets(path.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        found = there.exists() and there.is_relative_to(ROOT)
        if not found or (anchor and anchor not in anchors(there.read_text(encoding="utf-8"))):
            broken.append(target)
    return broken


def command_lines(text: str) -> list[list[str]]:
    """The words of each line in a document's bash blocks, comments and continued lines resolved.

    >>> command_lines("```bash\\na b=1 \\\\\\n  c  # d\\n```\\n")
    [['a', 'b=1', 'c']]
    """
    lines = "\n".join(blocks(text, "bash")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def semhead_words(words: list[str]) -> list[str] | None:
    """What follows `semhead` in a line, or `-m semhead_lib` in one of torchrun; else None."""
    if words[0] == "semhead":
        return words[1:]
    return words[words.index("semhead_lib") + 1 :] if "semhead_lib" in words else None


def defined_in(module: str) -> set[str]:
    """Functions and classes of a module, which is read and not imported: some take long to import.

    >>> "Camera" in defined_in("semhead_lib.cameras")
    True
    """
    file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return {node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


def test_the_readme_is_short_and_leads_to_every_page():
    text = README.read_text(encoding="utf-8")
    assert len(text.split()) <= 900
    assert {path.stem for path in PAGES} >= TOPICS
    linked = {target.partition("#")[0] for target in targets(text)}
    assert {name_of(path) for path in PAGES} <= linked
    notebooks = {name_of(path) for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {target for target in linked if target.endswith(".ipynb")} == notebooks


@of_each(DOCUMENTS)
def test_links_lead_somewhere(path):
    assert broken_links(path) == []


def test_broken_links_are_found(monkeypatch, tmp_path):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "there.md").write_text("# A heading\n")
    page = tmp_path / "page.md"
    page.write_text("[](there.md) [](there.md#a-heading) [](there.md#other) ![](no.png) [](..)")
    assert broken_links(page) == ["there.md#other", "no.png", ".."]


@of_each(GUIDES)
def test_commands_exist_with_their_keys(path):
    text = path.read_text(encoding="utf-8")
    for words in command_lines(text):
        rest = semhead_words(words)
        if rest and rest[0] not in ("--help", "--version"):
            command, rest = cli.find_command(rest)
            cli.configure(command, rest)
    for code in re.findall(r"`semhead ([a-z][^`]*)`", prose(text)):
        cli.find_command(code.split())
    made = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    lines = [words for words in command_lines(text) if "make" in words[:2]]
    for words in lines:
        target = words[words.index("make") + 1 :][:1]
        assert not target or target[0] in made, f"{path.name}: make {target[0]}"


def test_commands_are_looked_at():
    texts = [path.read_text(encoding="utf-8") for path in GUIDES]
    named = [semhead_words(words) for text in texts for words in command_lines(text)]
    assert len([words for words in named if words]) > 25
    text = "```bash\nsemhead train data out resolutoin=3\n```\n"
    with pytest.raises(ValueError, match="unknown key 'resolutoin'"):
        cli.configure(*cli.find_command(semhead_words(command_lines(text)[0])))


@of_each(GUIDES)
def test_names_in_python_blocks_exist(path):
    for code in blocks(path.read_text(encoding="utf-8"), "python"):
        tree = ast.parse(code)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                missing = {alias.name for alias in node.names} - defined_in(node.module)
                assert not missing, ast.unparse(node)
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "sh":
                assert node.attr in dir(semhead_lib), f"semhead_lib.{node.attr}"


@of_each(GUIDES)
def test_modules_that_are_executed_exist(path):
    for module in re.findall(r"python -m (semhead_lib[\w.]*)", path.read_text(encoding="utf-8")):
        file = ROOT.joinpath(*module.split("."))
        assert file.with_suffix(".py").is_file() or (file / "__main__.py").is_file(), module


@of_each(GUIDES)
def test_documents_name_no_machine(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.~])/(work|root|home|tmp|mnt)/|--(extra-)?index-url", text)


# Columns of the tables of conditions: the metric in the study's results, and its scope.
COLUMNS = [
    ("frechet", "all"),
    ("directional_bias", "all"),
    ("mode_coverage", "all"),
    ("cross_view_recall_5", "180"),
    ("diversity", "180"),
]


@pytest.mark.parametrize("path", [README, ROOT / "docs" / "ablations.md"], ids=name_of)
def test_tables_of_conditions_are_those_of_the_study(path):
    from semhead_lib.ablation.analysis import final, load_results, pick, spread

    study = load_results(ROOT / "papermill_runs" / "reference" / "ablations" / "cpu-long")
    text = path.read_text(encoding="utf-8").replace("**", "")
    text = text.partition("### At 32 pixels")[2] or text
    for mode in ("none", "view", "semantic"):
        (row,) = re.findall(rf"^\| {mode} \| (\d.*) \|$", text, re.M)
        cells = row.split(" | ")
        assert len(cells) >= 4
        for cell, (metric, scope) in zip(cells, COLUMNS, strict=False):
            found = spread(pick(final(study.of(mode=mode)), metric, scope))
            assert cell == f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]", (mode, metric)


def test_the_papers_table_is_that_of_the_study():
    from semhead_lib.ablation.analysis import final, load_results, pick, spread
    from semhead_lib.ablation.paper_table import NAMES, paper_rows

    study = load_results(ROOT / "papermill_runs" / "reference" / "ablations" / "cpu-64")
    text = (ROOT / "docs" / "ablations.md").read_text(encoding="utf-8")
    text = text.partition("### The paper's table")[2].partition("### At 32 pixels")[0]
    for (mode, _), distances in paper_rows(study).items():
        (row,) = re.findall(rf"^\| {re.escape(mode)} \| (\d.*) \|$", text, re.M)
        rows = final(study.of(mode=mode))
        coverage, faces = (spread(pick(rows, key)) for key in ("mode_coverage", "face_on_back"))
        recall = spread(pick(rows, "cross_view_recall_5", "180"))

        def ends(x, digits=2, times=1, unit=""):
            mean, *others = (f"{times * v:.{digits}f}" for v in (x.mean, x.low, x.high))
            return f"{mean}{unit} [{', '.join(others)}]"

        expected = [ends(distances[name], 1) for name in NAMES]
        expected += [ends(coverage), ends(faces, times=100, unit=" %"), ends(recall)]
        assert row.split(" | ") == expected, mode


def test_the_citation_file():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= citation.keys()
    assert citation["cff-version"] == "1.2.0" and citation["version"] == semhead_lib.__version__
    assert citation["authors"] and all("name" in who for who in citation["authors"])
    (paper,) = citation["references"]
    text = README.read_text(encoding="utf-8")
    plain = re.sub(r"\s+", " ", text.replace("{", "").replace("}", ""))
    for who in paper["authors"]:
        assert f"{who['family-names']}, {who['given-names']}" in plain
    assert f"title = {paper['title']}," in plain and f"title = {citation['title']}," in plain
    assert f"version = {semhead_lib.__version__}," in plain


def test_files_for_contributors():
    read = {
        path: (ROOT / path).read_text(encoding="utf-8")
        for path in (
            ".pre-commit-config.yaml",
            ".github/workflows/ci.yml",
            "CHANGELOG.md",
            "pyproject.toml",
            "environments/lock-suite.txt",
        )
    }
    (ruff,) = yaml.safe_load(read[".pre-commit-config.yaml"])["repos"]
    (pinned,) = re.findall(r"^ruff==(\S+)", read["environments/lock-suite.txt"], re.M)
    assert ruff["rev"] == f"v{pinned}"
    (job,) = yaml.safe_load(read[".github/workflows/ci.yml"])["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    version = tomllib.loads(read["pyproject.toml"])["project"]["version"]
    assert re.search(r"^## \[Unreleased\]$", read["CHANGELOG.md"], re.M)
    assert version in read["CHANGELOG.md"]
    for name in ("bug", "question", "feature"):
        form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
        assert {"name", "description", "body"} <= form.keys()
        asked = [f for f in form["body"] if "semhead doctor" in f["attributes"]["label"]]
        assert any(f["validations"]["required"] for f in asked) == (name == "bug")
