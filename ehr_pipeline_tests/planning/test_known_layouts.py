"""What `init` finds beside the tables of known layouts."""

from pathlib import Path

from ehr_pipeline.planning import init_study
from ehr_pipeline_tests.planning import test_init_study as files
from ehr_pipeline_tests.planning.test_meds_sets import TODAY, started


def test_omop_is_read_with_its_vocabulary_and_delimiter(tmp_path: Path) -> None:
    (source := tmp_path / "cdm").mkdir()
    files.omop(source)
    for path in source.iterdir():
        path.write_text(path.read_text().replace(",", "\t").replace("ethnicity_source_value", "other"))
    made = init_study.start(tmp_path / "none", [source], None, TODAY)
    assert any("Set events.omop_vocabulary" in doubt for doubt in made.doubts)
    concepts = [[code, f"name of {code}", "Condition", "SNOMED", "Disorder", "S", code] for code in files.CODES]
    head = [
        "concept_id",
        "concept_name",
        "domain_id",
        "vocabulary_id",
        "concept_class_id",
        "standard_concept",
        "concept_code",
    ]
    (source / "vocabulary").mkdir()
    files.text(source / "vocabulary/CONCEPT.csv", head, concepts, "\t")
    made, study = started(tmp_path / "study", source)
    assert study.events.omop_vocabulary == str(source / "vocabulary")
    assert study.records.omop.delimiter == "\t"
    assert study.records.omop.attributes == {"race": "race_source_value"}, "person has no column of the ethnicity"
    assert study.reports.audited == ("race",)
    assert (
        made.doubts[0]
        == "Without --umls DIR, each code is a separate concept: codes with the same meaning are not joined."
    )
    assert not any("omop_vocabulary" in doubt for doubt in made.doubts)


def test_omop_tables_without_source_concepts_are_read(tmp_path: Path) -> None:
    """Some exports leave the column out; the table was refused."""
    (source := tmp_path / "cdm").mkdir()
    files.omop(source)
    path = source / "condition_occurrence.csv"
    path.write_text("\n".join(line.rpartition(",")[0] for line in path.read_text().splitlines()) + "\n")
    _, study = started(tmp_path / "study", source)
    assert study.records.source == "omop"
