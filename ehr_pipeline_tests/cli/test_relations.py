"""The command `relations`: which concept is meant by what a user types."""

from pathlib import Path

import pytest

from ehr_pipeline import cli
from ehr_pipeline.planning import finding_codes
from ehr_pipeline.relations import table
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.vocabulary.names import with_all_words
from ehr_pipeline.vocabulary.table import Concept, Vocabulary
from ehr_pipeline_tests.conftest import write_settings


@pytest.fixture(scope="module")
def settings(tiny: Pipeline, extract: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_settings(tmp_path_factory.mktemp("asked") / "study.toml", extract, tiny.store.root)


@pytest.fixture(scope="module")
def named(tiny: Pipeline) -> list[Concept]:
    """Concepts that many patients have."""
    concepts = Vocabulary.read(tiny.store.current("vocabulary").path).concepts
    return [one for one in concepts if one.patients >= 100]


def asked(settings: Path, *words: str) -> int:
    return cli.main(["relations", *words, "--settings", str(settings)])


def test_the_words_of_a_name_in_any_order(
    tiny: Pipeline, named: list[Concept], settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compared = table.compared(tiny.store.current("concept_relations").path)
    one = next(one for one in named if one.concept in compared and " " in one.name and one.name.isascii())
    assert asked(settings, " ".join(reversed(one.name.upper().split()))) == 0
    headings = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert one.name in headings
    assert asked(settings, one.concept) == 0
    assert capsys.readouterr().out.splitlines()[0] == one.name


def test_a_synonym_finds_the_concept(
    tiny: Pipeline, named: list[Concept], settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names, mapped = {one.concept: one.name for one in named}, tiny.store.current("mapped_events")
    atoms = finding_codes._names("", tiny.study, mapped)[0].drop_nulls("cui")
    everything = [one.name for one in Vocabulary.read(tiny.store.current("vocabulary").path).concepts]
    cui, synonym = next(
        (atom["cui"], atom["name"])
        for atom in atoms.iter_rows(named=True)
        if atom["cui"] in names and not with_all_words(atom["name"], everything)
    )
    assert asked(settings, synonym) == 0
    assert names[cui] in capsys.readouterr().out.splitlines()


def test_a_concept_that_was_not_compared_is_said_to_be_so(
    tiny: Pipeline, named: list[Concept], settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compared = table.compared(tiny.store.current("concept_relations").path)
    assert asked(settings, next(one.concept for one in named if one.concept not in compared)) == 0
    assert "not compared" in capsys.readouterr().out


def test_a_misspelt_name_is_answered_with_those_that_resemble_it(
    named: list[Concept], settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(settings, named[0].name + "xq") == 2
    assert named[0].name in capsys.readouterr().err
    assert asked(settings, " ") == 2
    assert "No concept was given" in capsys.readouterr().err
