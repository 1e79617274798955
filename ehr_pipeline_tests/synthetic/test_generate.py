import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic import dirt, groups, people, visits
from ehr_pipeline.synthetic.codes import LABORATORY_OR_OBSERVABLE, CodeTable
from ehr_pipeline.synthetic.generate import EXTRACT, generate
from ehr_pipeline.tables import schemas
from ehr_pipeline.terminology import snomed


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        generate(tmp_path / name, patients=30, seed=seed)
    one, two, three = (content(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_more_patients_do_not_change_the_first_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Blocks are drawn one by one, each from its own seed: so memory does not grow with the number of patients."""
    from ehr_pipeline.synthetic import generate as module

    monkeypatch.setattr(module, "BLOCK", 20)
    generate(tmp_path / "small", patients=40, seed=3)
    generate(tmp_path / "large", patients=60, seed=3)
    first = f"landing/{EXTRACT}/events_000.txt"
    assert content(tmp_path / "small")[first] == content(tmp_path / "large")[first]
    assert len(list((tmp_path / "large/landing" / EXTRACT).glob("events_*"))) == 3


def test_ids_are_all_different_and_in_no_order() -> None:
    ids = people.patient_ids(np.arange(200_000))
    assert len(set(ids)) == 200_000
    assert {len(patient) for patient in ids} == {9}
    assert ids[:1000] != sorted(ids[:1000])


def test_groups_are_as_the_issue_of_truth_demands() -> None:
    assert len(groups.GROUPS) >= 8
    assert {group.disease for group in groups.GROUPS} == set(groups.DISEASES)
    assert len(groups.COMPANIONS) < sum(len(group.companions) for group in groups.GROUPS), "some overlap"
    assert groups.COMPANION_RATE <= 0.35
    assert groups.ELSEWHERE_RATE >= 0.05
    assert groups.SECOND_GROUP_SHARE == 0.15
    codes = CodeTable.read().codes
    real = set(codes.filter(pl.col("namespace") == "international")["code"])
    assert {*groups.COMPANIONS, *groups.DISEASES.values()} <= real


def test_companions_occur_at_their_rates(tiny: Pipeline, extract: Path) -> None:
    """Measured on what the pipeline read: a companion's share of the visits of its group, and of everybody else's."""
    with (extract / "truth/patients.csv").open() as stream:
        truth = {row["patient_id"]: (row["group"], row["second_group"]) for row in csv.DictReader(stream)}
    events = pl.concat(
        [
            pl.DataFrame(schemas.read(path)).cast(pl.String)
            for path in tiny.store.current("mapped_events").files("events")
        ]
    )
    visit = events.group_by("patient_id", "date").agg(pl.col("concept").unique())
    table = CodeTable.read()
    inside, outside = [], []
    for companion in groups.COMPANIONS:
        having = {group.name for group in groups.GROUPS if companion in group.companions}
        members = {patient for patient, own in truth.items() if having & set(own)}
        has = visit.select(
            pl.col("concept").list.contains(table.concept_of(companion)),
            member=pl.col("patient_id").is_in(sorted(members)),
        )
        inside.append(has.filter(pl.col("member"))["concept"].mean())
        outside.append(has.filter(~pl.col("member"))["concept"].mean())
    # Visits on one day come together, and the background holds these concepts too: so slightly above the rates.
    assert 0.26 < np.mean(inside) < 0.35
    assert 0.045 < np.mean(outside) < 0.09


def test_laboratory_and_observable_entities_make_forty_percent_of_mapped_events(tiny: Pipeline) -> None:
    folder = tiny.store.current("vocabulary").path
    tables = [
        pl.read_csv(folder / name, infer_schema=False).select("semantic_types", pl.col("events").cast(pl.Int64))
        for name in ("vocabulary.csv", "dropped.csv")
    ]
    concepts = pl.concat(tables)
    laboratory = concepts.filter(
        pl.col("semantic_types").fill_null("").str.contains("|".join(LABORATORY_OR_OBSERVABLE))
    )
    assert laboratory["events"].sum() / concepts["events"].sum() >= 0.40


def test_follow_up_is_long_tailed_and_grows_with_age() -> None:
    rng = np.random.default_rng(0)
    crowd = people.draw(rng, 0, 4000, 0.5)
    drawn = visits.draw(rng, crowd, visits.Background(CodeTable.read()))
    per_person = np.bincount(drawn["person"].to_numpy(), minlength=4000)
    visit = drawn.group_by("person", "day").len()
    per_visit = visit["len"].to_numpy()
    number = np.bincount(visit["person"].to_numpy(), minlength=4000)
    assert (per_person > 256).mean() > 0.4
    assert 0.005 < (number < 3).mean() < 0.03
    assert 0 < (per_visit > 600).sum() < 0.001 * len(per_visit)
    age = people.END_YEAR - crowd["year_of_birth"].to_numpy()
    from scipy.stats import spearmanr

    assert spearmanr(age, per_person).statistic > 0.25


def test_codes_are_used_as_often_as_in_general_practice() -> None:
    """Within the international codes that are no laboratory codes, the order of use follows the NHS file."""
    rng = np.random.default_rng(0)
    table = CodeTable.read()
    background = visits.Background(table)
    drawn = np.concatenate(
        [background.draw(rng, "consultation", sex, band, 20_000) for sex in "FM" for band in range(5)]
    )
    counted = pl.Series(drawn.astype(str)).value_counts(name="n").rename({"": "code"})
    plain = table.codes.filter(pl.Series(table.international & ~table.laboratory)).head(300)
    joined = plain.join(counted, on="code", how="left").with_columns(pl.col("n").fill_null(0))
    from scipy.stats import spearmanr

    assert spearmanr(joined["usage"], joined["n"]).statistic > 0.75
    assert counted.height > 3000


def test_description_ids_are_well_formed() -> None:
    made = dirt.description_ids(("9014002", "24079001"))
    assert snomed.classify(pl.Series(made))["kind"].to_list() == ["description"] * 2
    assert made[0] != made[1]


def test_the_terminology_is_labelled_and_of_the_right_layout(extract: Path) -> None:
    folder = extract / "terminology"
    assert "This is not the UMLS" in (folder / "README.md").read_text()
    assert {line.count("|") for line in (folder / "MRCONSO.RRF").read_text().splitlines()} == {18}
    assert {line.count("|") for line in (folder / "MRSTY.RRF").read_text().splitlines()} == {6}


def test_what_ships_is_small() -> None:
    from ehr_pipeline.terminology.shipped import shipped

    assert sum(path.stat().st_size for folder in ("demo", "lists") for path in shipped(folder).rglob("*")) < 2_000_000


def test_the_facts_are_written_last(extract: Path) -> None:
    facts = json.loads((extract / "truth/dirt.json").read_text())
    assert facts["patients"] == 400
    assert set(facts["rows"]) == {"rows", *dirt.REJECTED, *dirt.HARMLESS}


def test_an_extract_leaves_no_changes_of_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth/changes.csv").write_text("patient_id\n")
    generate(tmp_path, 30, 3)
    assert not (tmp_path / "truth/changes.csv").exists()
