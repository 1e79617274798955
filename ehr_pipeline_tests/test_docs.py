"""What README and docs say is there is there: files, commands, settings, and code that runs."""

import re
import shlex
import tomllib
import typing
from pathlib import Path

import pytest

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.chain.pipeline import Pipeline
from ehr_pipeline.cli import parser
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.reports.statements.statement import Rate
from ehr_pipeline.study import settings
from ehr_pipeline.study.settings import merged

TOP = Path(__file__).parents[1]
PAGES = [TOP / "README.md", TOP / "data/README.md", TOP / "benchmarks/README.md", *sorted((TOP / "docs").glob("*.md"))]
README = (TOP / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (TOP / "docs/architecture.md").read_text(encoding="utf-8")


HELPERS = (
    *("beside.py", "cohorts.py", "rates.py", "results.py"),
    *("second_opinion.py", "token_data.py", "training_ours.py", "watch.py"),
)
"""Modules of the benchmarks, which write no section of results themselves."""


def code(page: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [README, ARCHITECTURE], ids=["README.md", "architecture.md"])
def test_files_that_the_readme_and_the_architecture_name_exist(page: str) -> None:
    named = re.findall(r"`((?:ehr_pipeline|ehr_pipeline_tests|data|docs|benchmarks)/[\w/.]+)`", page)
    assert len(named) > 5
    assert [name for name in named if not (TOP / name).exists()] == []


def test_the_architecture_shows_each_room_and_each_asset() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = project["tool"]["importlinter"]["contracts"]
    flow, rooms = code(ARCHITECTURE, "")
    assert {*re.findall(r"\w+", rooms)} >= {*contract["layers"]} - {"definitions"}
    assert [name for name in ASSETS if name not in flow] == []


def test_every_error_rate_that_a_statement_names_has_its_section() -> None:
    sections = re.findall(r"^## (.+)$", (TOP / "docs/error_rates.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == [rate.value for rate in Rate if rate != Rate.DESCRIPTION]


def test_the_file_map_is_complete_and_true() -> None:
    lines = code(README, "")[0].splitlines()
    entries = {line.split()[0] for line in lines if line.startswith("  ")}
    package = TOP / "ehr_pipeline"
    assert [entry for entry in entries if not (package / entry).exists()] == []
    folders = {f"{path.name}/" for path in package.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders <= entries
    top = {part for line in lines if not line.startswith(" ") for part in line.split("  ")[0:3]}
    assert [name for name in top if re.fullmatch(r"[\w.]+/?", name.strip()) and not (TOP / name.strip()).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_known(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    makefile = (TOP / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^    make (\w+)|`make (\w+)`", text, re.MULTILINE):
        assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE), target
    for command in re.findall(r"(?:^    |`)(?:[\w./]+/)?ehr-pipeline ([^`#\n>]+)", text, re.MULTILINE):
        words = shlex.split(command)
        if len(words) == 1:  # a mention of the command, not a whole line to type
            assert words[0] in (
                "demo",
                "run",
                "check",
                "embed",
                "assign",
                "export",
                "settings",
                "synth",
                "ui",
                "release",
                "ci-check",
                "plan",
                "push",
                "pull",
                "job-scripts",
                "key",
                "verify",
            )
        else:
            parser().parse_args(words)


def studies(page: str) -> list[settings.Study]:
    """The settings of `docs/study.md` are a whole study; each of a page's is laid over it, a source in place of its records."""
    (whole,) = (tomllib.loads(block) for block in code(docs("study"), "toml"))
    laid_over = [
        merged(whole | ({"records": {}} if "source" in other.get("records", {}) else {}), other)
        for other in map(tomllib.loads, code(docs(page), "toml"))
    ]
    return [settings.validate(values, base=TOP / "data/demo") for values in laid_over]


def docs(page: str) -> str:
    return (TOP / f"docs/{page}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [path.stem for path in (TOP / "docs").glob("*.md") if code(docs(path.stem), "toml")])
def test_the_settings_of_every_page_are_valid(page: str) -> None:
    (whole,) = studies("study")
    assert whole.launcher.processes == 8
    assert page == "study" or any(study != whole for study in studies(page))


def test_the_pages_of_layouts_show_every_source() -> None:
    shown = {page: studies(page)[0] for page in ("cprd", "omop", "meds")}
    shown = {study.records.source: study for study in [*studies("study"), *shown.values()]}
    assert set(shown) == set(typing.get_args(typing.get_type_hints(RecordsSettings)["source"]))
    assert shown["cprd_aurum"].events.dictionaries["prodcodeid"].then == "ingredient"
    assert {kind.files.code_system for kind in shown["cprd_aurum"].records.kinds.events} <= set(
        shown["cprd_aurum"].events.dictionaries
    )
    assert set(shown["omop"].records.attributes) == {"ethnicity", "observation_end", "race"}
    assert "meds_split" in shown["meds"].records.attributes
    assert shown["meds"].patients.visit_window_days == 3


def test_the_code_that_uses_the_artifacts_runs(tiny: Pipeline) -> None:
    (block,) = code(docs("results"), "python")
    names: dict[str, object] = {}
    exec(block.replace('"store"', repr(tiny.study.study.store)), names)  # noqa: S102 (our own page)
    assert names["logits"].shape[:2] == (1, 2)  # type: ignore[attr-defined]


def test_the_page_that_fills_a_concept_runs(tiny: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    page = docs("fill_a_concept")
    (block,) = code(page, "python")
    place = "data/studies/demo/store/encoder/encoder_checkpoint"
    assert place in block
    exec(block.replace(place, str(tiny.store.folder("encoder_checkpoint"))), {})  # noqa: S102 (our own page)
    told = page.partition("it prints:\n\n```\n")[2].partition("```")[0]
    printed, shown = capsys.readouterr().out.splitlines(), told.splitlines()
    assert [line for line in printed if not line.startswith(" ")] == [
        line for line in shown if not line.startswith(" ")
    ]
    assert len(printed) == len(shown)


def test_every_benchmark_is_listed() -> None:
    listed = (TOP / "benchmarks/README.md").read_text(encoding="utf-8")
    results = (TOP / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    for script in (TOP / "benchmarks").glob("*.py"):
        if script.name not in HELPERS:
            assert f"`{script.name}`" in listed
            assert f"<!-- {script.name} -->" in results


def test_the_time_of_the_demo_in_the_readme_was_measured() -> None:
    results = (TOP / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    seconds = re.search(r"report in \*\*(\d+) s\*\*, (\d+) s of processor time", results)
    assert seconds
    assert f"{seconds[1]} s" in README
    assert f"{seconds[2]} s of processor time" in README


def test_figures_of_planted_groups_in_the_readme_were_measured() -> None:
    """By world: each row of the README's table has the means of the section in RESULTS.md."""
    results = (TOP / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    section = results.split("## Planted groups, by mechanism")[1]
    heads, *rows = table(next(part for part in section.split("\n\n") if part.startswith("| vectors |")))
    means = {row[0]: dict(zip(heads, (cell.split(" ")[0] for cell in row), strict=True)) for row in rows}
    vectors = ("this run (recommended)", "published", "no network", "counts + SVD")
    shown = [row for row in table(README) if re.search(r"\(`[a-z-]+`\)$", row[0]) and len(row) == len(vectors) + 1]
    assert len(shown) == len(heads) - 1, "every world"
    for name, *cells in shown:
        world = name.rpartition("(`")[2].removesuffix("`)")
        assert [cell.strip("*") for cell in cells] == [means[vector][world] for vector in vectors], world


def table(text: str) -> list[list[str]]:
    """The rows of all Markdown tables of a text, without the lines below the headings."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|--")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
