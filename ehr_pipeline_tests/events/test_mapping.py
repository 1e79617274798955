from pathlib import Path

import polars as pl
import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.events import coverage
from ehr_pipeline.events.mapping import map_codes
from ehr_pipeline.events.settings import CodeDictionary, EventsSettings

PSORIASIS, TEXT_MESSAGE, ASTHMA, DESCRIPTION, WRONG = "9014002", "279991000000102", "195967001", "264177017", "9014003"


def atoms(*rows: tuple[str, str, str]) -> pl.DataFrame:
    """Atoms (code, cui, suppress), best first as the reader gives them."""
    return pl.DataFrame(
        {
            "code": [r[0] for r in rows],
            "cui": [r[1] for r in rows],
            "name": [r[1] for r in rows],
            "suppress": [r[2] for r in rows],
            "preferred": [True] * len(rows),
        }
    )


def mapped(
    codes: list[str], *rows: tuple[str, str, str], **settings: object
) -> dict[str, tuple[str | None, str | None]]:
    table = map_codes(pl.Series(codes), atoms(*rows), EventsSettings(mrconso="", **settings))  # type: ignore[arg-type]
    return {code: (concept, step) for code, concept, step in table.select("code", "concept", "step").iter_rows()}


def test_steps() -> None:
    found = mapped([PSORIASIS, ASTHMA, TEXT_MESSAGE, DESCRIPTION, "H33.."], (PSORIASIS, "C1", "N"), (ASTHMA, "C2", "O"))
    assert found == {
        PSORIASIS: ("C1", "current"),
        ASTHMA: ("C2", "obsolete"),
        TEXT_MESSAGE: (None, None),
        DESCRIPTION: (None, None),
        "H33..": (None, None),
    }


def test_one_code_gives_one_concept_and_the_others_are_listed() -> None:
    table = map_codes(
        pl.Series([PSORIASIS]),
        atoms((PSORIASIS, "C2", "N"), (PSORIASIS, "C1", "N"), (PSORIASIS, "C3", "O")),
        EventsSettings(mrconso=""),
    )
    assert table.select("concept", "runners_up").row(0) == ("C2", "C1 C3")


def test_codes_may_be_kept_as_their_own_concepts() -> None:
    found = mapped([TEXT_MESSAGE, DESCRIPTION, "H33..", WRONG], (PSORIASIS, "C1", "N"), unmapped="keep")
    assert found == {
        TEXT_MESSAGE: (f"SCT:{TEXT_MESSAGE}", "kept"),
        DESCRIPTION: (None, None),
        "H33..": (None, None),
        WRONG: (None, None),
    }


def test_a_wrong_check_digit_is_never_mapped() -> None:
    assert mapped([WRONG], (WRONG, "C1", "N")) == {WRONG: (None, None)}


def test_a_dictionary_translates_local_codes(tmp_path: Path) -> None:
    path = tmp_path / "dictionary.txt"
    path.write_text(f"MedCodeId\tSnomedCTConceptId\n77\t{PSORIASIS}\n78\t\n77\t{ASTHMA}\n")
    dictionary = CodeDictionary(file=str(path), code_column="MedCodeId", snomed_column="SnomedCTConceptId")
    found = mapped(
        ["medcode:77", "medcode:99", PSORIASIS],
        (PSORIASIS, "C1", "N"),
        (ASTHMA, "C2", "N"),
        dictionaries={"medcode": dictionary},
    )
    assert found["medcode:77"] == ("C2", "current"), "the lowest SNOMED code, as text, of two"
    assert found["medcode:99"] == (None, None)
    assert found[PSORIASIS] == ("C1", "current")


def test_a_broken_dictionary_is_told(tmp_path: Path) -> None:
    path = tmp_path / "dictionary.txt"
    path.write_text("a\tb\n1\t2\n")
    dictionary = CodeDictionary(file=str(path), code_column="MedCodeId", snomed_column="b")
    with pytest.raises(InputError, match=r"line 1: no column MedCodeId\. The header has: a, b"):
        mapped(["x:1"], dictionaries={"x": dictionary})
    with pytest.raises(InputError, match="cannot be read"):
        mapped(
            ["x:1"],
            dictionaries={"x": CodeDictionary(file=str(tmp_path / "nothing"), code_column="a", snomed_column="b")},
        )


def test_coverage_by_events_codes_namespace_and_step() -> None:
    table = map_codes(
        pl.Series([PSORIASIS, ASTHMA, TEXT_MESSAGE, WRONG]),
        atoms((PSORIASIS, "C1", "N"), (ASTHMA, "C2", "O")),
        EventsSettings(mrconso=""),
    )
    events = {PSORIASIS: 5, ASTHMA: 2, TEXT_MESSAGE: 12, WRONG: 1}
    table = table.with_columns(events=pl.col("code").replace_strict(events, return_dtype=pl.Int64))
    report = coverage.report(table)
    assert (report["events"], report["mapped_events"], report["events_share"], report["codes_share"]) == (
        20,
        7,
        0.35,
        0.5,
    )
    assert report["by_namespace"]["uk_extension"]["events_share"] == 0
    assert report["by_namespace"]["international"]["mapped_codes"] == 2
    assert {step: row["events"] for step, row in report["by_step"].items()} == {"lost": 13, "current": 5, "obsolete": 2}
    assert coverage.lost_events(table) == {"unmapped_bad_check_digit": 1, "unmapped_uk_extension": 12}
    assert coverage.most_frequent_lost(table, 1)["code"].to_list() == [TEXT_MESSAGE]
