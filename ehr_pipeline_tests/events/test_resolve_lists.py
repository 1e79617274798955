"""A concept list means what it says, whatever the extract holds."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.checks import lists
from ehr_pipeline.disclosure.kinds import Events
from ehr_pipeline.errors import InputError
from ehr_pipeline.events import resolve_lists
from ehr_pipeline.events.resolve_lists import Ladder
from ehr_pipeline.events.settings import EventsSettings
from ehr_pipeline.planning import preflight
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.terminology import rf2
from ehr_pipeline_tests.events.test_mapping import (
    ASTHMA,
    DESCRIPTION,
    OLDER,
    PSORIASIS,
    RETIRED,
    TEXT_MESSAGE,
    UK_CHILD,
    atoms,
    ladder,
    map_codes,
    rf2_file,
)

__all__ = ["ladder"]
SAME = (PSORIASIS, RETIRED, OLDER, DESCRIPTION, "M161.")
"""Ways of recording psoriasis: the current code, retired ones, a description, a Read code."""
EXTRACT = "2020-01-01"


def mrconso(path: Path, **concepts: str) -> str:
    """A MRCONSO with a preferred term of each SNOMED code (given as _CODE=CUI)."""
    row = "{cui}|ENG|P|L1|PF|S1|Y|A1|||{code}|SNOMEDCT_US|PT|{code}|name|9|N||\n"
    path.write_text("".join(row.format(cui=cui, code=code[1:]) for code, cui in concepts.items()))
    return str(path)


def concept_list(path: Path, *codes: str) -> str:
    path.write_text("code,cui,name,source\n" + "".join(f"{code},,x,x\n" for code in codes))
    return str(path)


def test_every_way_of_writing_a_code_stands_for_the_same_concept(ladder: dict[str, Any], tmp_path: Path) -> None:
    own = EventsSettings(
        mrconso=mrconso(tmp_path / "M", **{f"_{PSORIASIS}": "C0033860", f"_{ASTHMA}": "C0004096"}), **ladder
    )
    path = Path(concept_list(tmp_path / "list.csv", *SAME, UK_CHILD, TEXT_MESSAGE, "44054006"))
    rows = resolve_lists.resolve({"a": path}, own)["a"]
    assert {resolved.row.code: resolved.mapped for resolved in rows} == {
        **dict.fromkeys(SAME, ("C0033860",)),
        UK_CHILD: ("C0004096",),
        TEXT_MESSAGE: ("C0000077",),
        "44054006": (),
    }
    assert resolve_lists.concepts(rows) == {"C0033860", "C0004096", "C0000077"}
    assert resolve_lists.facts(rows) == {"codes": 8, "concepts": 3, "rows_without_concept": 1}


@hypothesis.settings(deadline=None)
@given(st.sets(st.sampled_from([*SAME, ASTHMA, UK_CHILD, TEXT_MESSAGE, "X:1"]), min_size=1))
def test_a_code_gets_the_same_concept_alone_as_among_others(codes: set[str]) -> None:
    """So the ladder may be asked for the codes of a list alone: they get what the extract's codes get."""
    own, known = EventsSettings(mrconso="", unmapped="keep"), atoms((PSORIASIS, "C1", "N"), (ASTHMA, "C2", "O"))
    together = map_codes(pl.Series(sorted(codes)), known, own)
    alone = pl.concat([map_codes(pl.Series([code]), known, own) for code in sorted(codes)], how="vertical_relaxed")
    assert together.equals(alone)


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Pipeline]:
    """study(recorded, listed): a study whose twenty patients have one recorded code, and a cohort by one listed code."""

    def made(recorded: str, wanted: str, **events: Any) -> Pipeline:
        folder = tmp_path / "landing" / EXTRACT
        folder.mkdir(parents=True, exist_ok=True)
        days = "".join(f"{n}\t2019-01-{day:02}\t{recorded}\n" for n in range(20) for day in range(1, 6))
        (folder / "events.txt").write_text(f"id\tdate\tcode\n{days}")
        (folder / "patients.txt").write_text("id\tyear\n" + "".join(f"{n}\t1950\n" for n in range(20)))
        (tmp_path / "MRSTY").write_text("C0030805|T047|B2|Disease|AT1||\n")
        path = concept_list(tmp_path / "list.csv", wanted)
        mapping = {"mrconso": str(tmp_path / "MRCONSO"), "coverage_floor": 0} | events
        values = {
            "study": {"name": "lists", "store": str(tmp_path / "store")},
            "records": {
                "landing": str(tmp_path / "landing"),
                "buckets": 2,
                "events": [{"files": "events*", "columns": {"patient": "id", "date": "date", "code": "code"}}],
                "patients": [{"files": "patients*", "columns": {"patient": "id", "birth_year": "year"}}],
            },
            "events": mapping,
            "vocabulary": {"mrsty": str(tmp_path / "MRSTY"), "min_appearances": 1, "min_size": 1},
            "patients": {"min_visits": 1},
            "concepts": {"concepts_of_interest": path},
            "embeddings": {"cohort": [{"name": "Pemphigoid", "concepts": path}]},
        }
        return Pipeline(settings.validate(values))

    return made


OLD, CURRENT, TERM = "86142006", "77090002", DESCRIPTION


@pytest.mark.parametrize(("recorded", "wanted"), [(OLD, CURRENT), (CURRENT, OLD), (TERM, CURRENT), (OLD, TERM)])
def test_a_cohort_does_not_depend_on_which_code_was_recorded(
    study: Callable[..., Pipeline], tmp_path: Path, recorded: str, wanted: str
) -> None:
    mrconso(tmp_path / "MRCONSO", **{f"_{CURRENT}": "C0030805"})
    replaced = {"referencedComponentId": OLD, "targetComponentId": CURRENT}
    row = replaced | {"refsetId": rf2.ASSOCIATIONS["replaced_by"]}
    terms = rf2_file(tmp_path / "d", rf2.DESCRIPTION, {"id": TERM, "conceptId": CURRENT})
    pipeline = study(recorded, wanted, associations=rf2_file(tmp_path / "a", rf2.ASSOCIATION, row), descriptions=terms)
    made = pipeline.make(EXTRACT, until="patient_dataset")
    cohort = pipeline.cohort()
    assert cohort.counts["kept"] == made["patient_dataset"].counts["patients"]["kept"] == 20
    assert cohort.counts["lists"]["Pemphigoid"]["events"] == 100


def test_another_terminology_makes_the_cohort_again_though_no_event_maps_otherwise(
    study: Callable[..., Pipeline], tmp_path: Path
) -> None:
    """The association leads from a code of the list that nobody recorded: the mapped events stay as they are, byte by byte."""
    mrconso(tmp_path / "MRCONSO", **{f"_{CURRENT}": "C0030805"})
    pipeline = study(CURRENT, OLD)
    before = pipeline.make(EXTRACT, until="patient_dataset")
    with pytest.raises(InputError, match="The cohort is empty"):
        pipeline.cohort()
    row = {"referencedComponentId": OLD, "targetComponentId": CURRENT, "refsetId": rf2.ASSOCIATIONS["replaced_by"]}
    pipeline = study(CURRENT, OLD, associations=rf2_file(tmp_path / "a", rf2.ASSOCIATION, row))
    with pytest.raises(InputError, match="Rebuild mapped_events"):
        pipeline.cohort()
    after = pipeline.make(EXTRACT, until="patient_dataset")
    assert after["mapped_events"].data_version == before["mapped_events"].data_version
    assert pipeline.cohort().counts["kept"] == 20
    assert pipeline.cohort().skipped
    os.utime(tmp_path / "a", ns=(1, 1))
    with pytest.raises(InputError, match="Rebuild mapped_events"):
        Ladder(pipeline.study.events, after["mapped_events"]).resolve({"a": str(tmp_path / "list.csv")})


def test_rows_that_find_nothing_are_told_before_and_after(study: Callable[..., Pipeline], tmp_path: Path) -> None:
    mrconso(tmp_path / "MRCONSO", **{f"_{CURRENT}": "C0030805"})
    pipeline = study(CURRENT, CURRENT)
    concept_list(tmp_path / "list.csv", CURRENT, "M161.", "ICD10CM:L12.0", OLD)
    problems = " ".join(preflight.inspect(pipeline.study).problems)
    assert "line 3: a code without a system is read as a Read code" in problems
    assert "line 4: codes of systems without a table in [events.dictionaries]" in problems
    pipeline.make(EXTRACT, until="patient_dataset")
    pipeline.cohort()
    (told,) = (one for one in pipeline.check("cohort") if one.name == "lists_understood")
    assert not told.passed
    assert not told.blocking
    assert "Pemphigoid 3 of 4" in told.message


def test_mangled_lists_are_told_by_line(case: Callable[[str], Path]) -> None:
    study = settings.load(case("lists_mangled") / "settings.toml")
    problems = [problem for problem in preflight.inspect(study).problems if "list.csv" in problem]
    assert {where for problem in problems for where in ("concepts_of_interest", "cohort[0]") if where in problem} == {
        "concepts_of_interest",
        "cohort[0]",
    }
    for line in (3, 5, 6, 7, 8):
        assert all(f"line {line}: " in problem for problem in problems)
    assert "spreadsheet rounded" in problems[0]


def test_an_empty_cohort_is_said_before_anything_is_read(
    study: Callable[..., Pipeline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mrconso(tmp_path / "MRCONSO", **{f"_{CURRENT}": "C0030805"})
    unknown = "(embeddings.cohort[0].concepts): none of its 1 rows matches a concept, so this list matches no patient"
    assert not any(unknown in text for text in preflight.inspect(study(CURRENT, CURRENT).study).problems)
    wrong = study(CURRENT, OLD).study
    assert sum(unknown in text for text in preflight.inspect(wrong).problems) == 1
    monkeypatch.setattr(lists, "LARGEST", 10)
    assert not any(unknown in text for text in preflight.inspect(wrong).problems), "too large to be read by a check"


def test_an_empty_cohort_stops_the_training_and_nothing_before_it(
    study: Callable[..., Pipeline], tmp_path: Path
) -> None:
    """The code of the list is known, but nobody has it."""
    mrconso(tmp_path / "MRCONSO", **{f"_{CURRENT}": "C0030805", f"_{ASTHMA}": "C0004096"})
    pipeline = study(CURRENT, ASTHMA)
    made = pipeline.make(EXTRACT, until="patient_dataset")
    (check,) = (one for one in pipeline.check("mapped_events") if one.name == "cohort_recorded")
    assert (check.passed, check.blocking) == (False, False)
    assert check.message == "the lists of Pemphigoid match no event, so they match no patient. Check their codes"
    with pytest.raises(InputError, match=r"The cohort would be empty, so no encoder was trained: .*Pemphigoid"):
        lists.refuse_empty_cohort(made["mapped_events"], pipeline.study)
    everybody = settings.validate(
        settings.merged(dataclasses.asdict(pipeline.study), {"embeddings": {"cohort": [{"name": "Everybody"}]}})
    )
    lists.refuse_empty_cohort(made["mapped_events"], everybody)
    halves = {"patients": {"split": {"validation_share": 0.4, "key": "halves"}}}
    pipeline = Pipeline(settings.validate(settings.merged(dataclasses.asdict(pipeline.study), halves)))
    pipeline.data_split()
    with pytest.raises(InputError, match="The cohort would be empty"):
        pipeline.encoder_checkpoint(lambda module, job: pytest.fail("it was trained"))


@pytest.mark.parametrize(("recorded", "wanted"), [(CURRENT, CURRENT), (OLD, CURRENT), (CURRENT, OLD)])
def test_events_of_a_list_are_counted_whichever_code_was_recorded(
    study: Callable[..., Pipeline], tmp_path: Path, recorded: str, wanted: str
) -> None:
    mrconso(tmp_path / "MRCONSO", **{f"_{CURRENT}": "C0030805"})
    row = {"referencedComponentId": OLD, "targetComponentId": CURRENT, "refsetId": rf2.ASSOCIATIONS["replaced_by"]}
    pipeline = study(recorded, wanted, associations=rf2_file(tmp_path / "a", rf2.ASSOCIATION, row))
    mapped = pipeline.make(EXTRACT, until="mapped_events")["mapped_events"]
    assert lists.events_of(mapped, pipeline.study) == {"Pemphigoid": Events(100, people=20)}
    lists.refuse_empty_cohort(mapped, pipeline.study)


def test_a_list_of_icd_10_codes_finds_them_in_either_case(tmp_path: Path) -> None:
    upper, lower = (concept_list(tmp_path / code, f"icd10:{code}") for code in ("C99.1", "c99.1"))
    named = tmp_path / "named"
    named.write_text("code,cui,name,source\n,icd10:c99.1,x,x\n")
    lists = {"upper": Path(upper), "lower": Path(lower), "named": named}
    rows = resolve_lists.resolve(lists, EventsSettings(unmapped="keep"))
    assert {where: resolve_lists.concepts(found) for where, found in rows.items()} == dict.fromkeys(
        lists, frozenset({"icd10:C99.1"})
    )
