"""What README and docs say is there is there: files, commands, settings, and code that runs."""

import argparse
import errno
import importlib.util
import os
import re
import shlex
import tomllib
import typing
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from ehr_pipeline import __version__
from ehr_pipeline.assets import ASSETS
from ehr_pipeline.cli import parser
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.reports.statements.statement import Rate
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.study.settings import merged

TOP = Path(__file__).parents[1]
FIRST = ("README.md", "CONTRIBUTING.md", "data/README.md", "benchmarks/README.md")
PAGES = [*(TOP / name for name in FIRST), *sorted((TOP / "docs").glob("*.md"))]
README = (TOP / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8")
ARCHITECTURE = (TOP / "docs/architecture.md").read_text(encoding="utf-8")


HELPERS = (
    *("outcome_tasks.py", "page_parts.py", "cohorts.py", "rates.py", "results.py"),
    *("second_opinion.py", "token_data.py", "training_ours.py", "two_sites.py", "time_and_memory.py"),
)
"""Modules of the benchmarks, which write no section of results themselves."""


def code(page: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [CONTRIBUTING, ARCHITECTURE], ids=["CONTRIBUTING.md", "architecture.md"])
def test_files_that_the_pages_for_developers_name_exist(page: str) -> None:
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
    lines = code(CONTRIBUTING, "")[0].splitlines()
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
            assert words[0] in commands()
        else:
            parser().parse_args(words)


def commands() -> set[str]:
    (found,) = (action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return set(found)


def test_the_page_of_commands_has_every_command() -> None:
    assert set(re.findall(r"^\| `ehr-pipeline ([\w-]+)", docs("commands"), re.MULTILINE)) == commands()


def test_the_readme_is_one_screen() -> None:
    assert len(README.splitlines()) <= 60


def test_the_citation_names_this_version() -> None:
    assert yaml.safe_load((TOP / "CITATION.cff").read_text(encoding="utf-8"))["version"] == __version__


def test_the_table_of_the_quick_start_has_every_asset() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", docs("quick_start"), re.MULTILINE)) == set(ASSETS)


def hooks() -> ModuleType:
    """What adds pages to the docs site (`docs/hooks.py`)."""
    spec = importlib.util.spec_from_file_location("hooks", TOP / "docs/hooks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_site_leads_to_every_page_and_to_no_other() -> None:
    listed = set(re.findall(r": ([\w]+\.md)$", (TOP / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    added = {*hooks().ELSEWHERE, "tutorial.md", "sample_report.md"}
    assert listed == added | {path.name for path in (TOP / "docs").glob("*.md")}


def test_the_site_asks_for_nothing_from_elsewhere() -> None:
    settings = yaml.safe_load((TOP / "mkdocs.yml").read_text(encoding="utf-8"))
    assert settings["theme"]["font"] is False
    scripts = settings["extra"]["polyfills"]
    assert all((TOP / "docs" / script).is_file() for script in scripts)
    assert any("iframe-worker" in script for script in scripts), "else the plugin `offline` names one of a server"
    assert not {"extra_css", "extra_javascript"} & set(settings)
    assert not any("```mermaid" in page.read_text(encoding="utf-8") for page in PAGES), "its script would be fetched"


def test_links_to_files_elsewhere_lead_to_their_pages_of_the_site() -> None:
    text = "[a](../benchmarks/RESULTS.md#error-rates) [b](worlds.md) [c](https://x.org/CHANGELOG.md)"
    assert hooks().local(text, "docs/page.md") == text.replace("../benchmarks/RESULTS.md", "benchmarks.md")
    assert (
        hooks().local("[a](docs/lists.md#review) [b](LICENSE)", "CHANGELOG.md") == "[a](lists.md#review) [b](LICENSE)"
    )


def test_the_tutorial_runs(tiny: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    module = hooks()
    place, path = "data/studies/demo/store", module.TUTORIAL.read_text(encoding="utf-8")
    assert "outputs" not in re.sub(r'"outputs": \[\]', "", path), "the notebook is kept without what its cells show"
    cells = [(kind, text.replace(place, str(tiny.store.root))) for kind, text in module.cells()]
    monkeypatch.setattr(module, "cells", lambda: cells)
    shown = re.findall(r"```text\n(.*?)```", "".join(module.tutorial(tiny.store.root)), re.DOTALL)
    assert len(shown) == sum(kind == "code" for kind, _ in cells), "each cell shows something"
    assert f"{tiny.store.current('vocabulary').counts['rows_in']:,} concepts" in shown[0]
    (edges,) = (text for text in shown if "odds_ratio" in text)
    has_edges = (
        tiny.store.current("concept_relations").counts["edges"] > 0
    )  # the tiny study is too small for a consensus
    assert "shape: (0," not in edges or not has_edges
    assert module.NOT_MADE in next(module.tutorial(None))


def test_the_messages_that_the_page_of_mistakes_quotes_exist() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in sorted((TOP / "ehr_pipeline").rglob("*.py")))
    texts = re.sub(r'"\s+f?"', "", texts) + os.strerror(errno.ENOSPC) + os.strerror(errno.EACCES)
    quoted = [row[0] for row in table(docs("troubleshooting")) if row[0].startswith('"')]
    pieces = [piece.strip(" …,") for message in quoted for piece in re.split(r'"|…', message)]
    pieces = [piece for piece in pieces if len(piece) > 5 and not piece.startswith("(")]
    assert len(pieces) > 8
    assert [piece for piece in pieces if piece not in texts] == []


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
    assert set(shown["omop"].records.attributes) == {
        "death_date",
        "ethnicity",
        "observation_end",
        "observation_start",
        "race",
    }
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


def test_the_time_of_the_demo_was_measured() -> None:
    results = (TOP / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    seconds = re.search(r"report in \*\*(\d+) s\*\*, (\d+) s of processor time", results)
    assert seconds
    assert f"{seconds[1]} s" in README
    for page in (README, docs("evidence"), docs("needs")):
        assert f"{seconds[2]} s of processor time" in page


def test_figures_of_planted_groups_were_measured() -> None:
    """By world: each row of the table in docs/evidence.md has the means of the section in RESULTS.md."""
    results = (TOP / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    section = results.split("## Planted groups, by mechanism")[1]
    heads, *rows = table(next(part for part in section.split("\n\n") if part.startswith("| vectors |")))
    means = {row[0]: dict(zip(heads, (cell.split(" ")[0] for cell in row), strict=True)) for row in rows}
    vectors = ("this run (recommended)", "published", "network alone", "counts + SVD")
    shown = [
        row for row in table(docs("evidence")) if re.search(r"\(`[a-z-]+`\)$", row[0]) and len(row) == len(vectors) + 1
    ]
    assert len(shown) == len(heads) - 1, "every world"
    for name, *cells in shown:
        world = name.rpartition("(`")[2].removesuffix("`)")
        assert [cell.strip("*") for cell in cells] == [means[vector][world] for vector in vectors], world


def table(text: str) -> list[list[str]]:
    """The rows of all Markdown tables of a text, without the lines below the headings."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|--")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
