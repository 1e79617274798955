from pathlib import Path

import polars as pl
import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.events import coverage
from ehr_pipeline.events.mapping import LADDER, map_translated
from ehr_pipeline.events.settings import CodeDictionary, EventsSettings
from ehr_pipeline.events.translate import names, read_dictionary, to_snomed
from ehr_pipeline.terminology import rf2

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


def map_codes(codes: pl.Series, atoms: pl.DataFrame, settings: EventsSettings) -> pl.DataFrame:
    """The mapping of distinct codes with these atoms."""
    return map_translated(to_snomed(codes, settings), atoms, settings)


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
    with pytest.raises(
        InputError, match=r"line 1: no column 'MedCodeId' \(events.dictionaries.x.code_column\)\. The header has: a, b"
    ):
        mapped(["x:1"], dictionaries={"x": dictionary})
    with pytest.raises(InputError, match="does not exist"):
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
    assert coverage.top_unmapped(table, 1)["code"].to_list() == [TEXT_MESSAGE]


RETIRED, OLDER, UK_CHILD, ECZEMA = "156331003", "268273004", "1326201000000101", "43116000"


def rf2_file(path: Path, columns: tuple[str, ...], *rows: dict[str, str]) -> tuple[str, ...]:
    rows = tuple({"id": f"{number}"} | row for number, row in enumerate(rows))  # components of their own
    lines = ["\t".join(columns), *("\t".join(row.get(name, "1") for name in columns) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return (str(path),)


@pytest.fixture
def ladder(tmp_path: Path) -> dict[str, object]:
    """Settings with every step of the ladder."""

    def replaced(old: str, new: str, kind: str = "same_as") -> dict[str, str]:
        return {"refsetId": rf2.ASSOCIATIONS[kind], "referencedComponentId": old, "targetComponentId": new}

    associations = rf2_file(
        tmp_path / "a", rf2.ASSOCIATION, replaced(OLDER, RETIRED), replaced(RETIRED, PSORIASIS, "replaced_by")
    )
    parent = {"sourceId": UK_CHILD, "destinationId": ECZEMA, "typeId": rf2.IS_A}
    above = {"sourceId": ECZEMA, "destinationId": ASTHMA, "typeId": rf2.IS_A}
    (tmp_path / "read").write_text(f"READ\tSCT\nH33..\t{ASTHMA}\nM161.\t{OLDER}\n")
    (tmp_path / "own.csv").write_text(f"code,cui,name,source\n{TEXT_MESSAGE},C0000077,Text message,us\n")
    return {
        "associations": associations,
        "descriptions": rf2_file(tmp_path / "d", rf2.DESCRIPTION, {"id": DESCRIPTION, "conceptId": PSORIASIS}),
        "relationships": rf2_file(tmp_path / "r", rf2.RELATIONSHIP, parent, above),
        "migrations": {"v2": CodeDictionary(file=str(tmp_path / "read"), code_column="READ", snomed_column="SCT")},
        "overrides": str(tmp_path / "own.csv"),
    }


def test_every_step_of_the_ladder(ladder: dict[str, object]) -> None:
    everything = [PSORIASIS, ASTHMA, DESCRIPTION, "H33..", "M161.", OLDER, UK_CHILD, TEXT_MESSAGE, WRONG]
    table = map_codes(
        pl.Series(everything),
        atoms((PSORIASIS, "C1", "N"), (ASTHMA, "C2", "O")),
        EventsSettings(mrconso="", **ladder),  # type: ignore[arg-type]
    )
    found = {row["code"]: (row["concept"], row["step"], row["distance"]) for row in table.iter_rows(named=True)}
    assert found == {
        PSORIASIS: ("C1", "current", 0),
        ASTHMA: ("C2", "obsolete", 0),
        DESCRIPTION: ("C1", "description", 0),
        "H33..": ("C2", "read", 0),
        "M161.": ("C1", "replaced", 2),
        OLDER: ("C1", "replaced", 2),
        UK_CHILD: ("C2", "ancestor", 2),
        TEXT_MESSAGE: ("C0000077", "override", 0),
        WRONG: (None, None, 0),
    }
    assert set(table["step"].drop_nulls()) <= set(LADDER)


def test_an_override_wins_over_the_umls(ladder: dict[str, object]) -> None:
    assert mapped([TEXT_MESSAGE], (TEXT_MESSAGE, "C1", "N"), **ladder) == {TEXT_MESSAGE: ("C0000077", "override")}


def test_an_ancestor_too_far_away_does_not_count(ladder: dict[str, object]) -> None:
    assert mapped([UK_CHILD], (ASTHMA, "C2", "N"), **ladder | {"ancestor_depth": 1}) == {UK_CHILD: (None, None)}
    assert mapped([UK_CHILD], (ASTHMA, "C2", "N"), **ladder | {"ancestor_depth": 0}) == {UK_CHILD: (None, None)}


def test_what_is_kept_is_kept_under_what_it_was_translated_to(ladder: dict[str, object]) -> None:
    found = mapped([DESCRIPTION, UK_CHILD], ("1", "C9", "N"), **ladder | {"unmapped": "keep"})
    assert found == {DESCRIPTION: (f"SCT:{PSORIASIS}", "kept"), UK_CHILD: (f"SCT:{UK_CHILD}", "kept")}


def test_what_is_kept_has_the_name_of_the_description_files(tmp_path: Path) -> None:
    terms = [
        {"id": "1", "active": "0", "typeId": rf2.FULLY_SPECIFIED, "conceptId": TEXT_MESSAGE, "term": "An old name"},
        {"id": "2", "active": "1", "typeId": "900000000000013009", "conceptId": TEXT_MESSAGE, "term": "SMS"},
        {
            "id": "3",
            "active": "1",
            "typeId": rf2.FULLY_SPECIFIED,
            "conceptId": TEXT_MESSAGE,
            "term": "Text message sent",
        },
        {"id": "4", "active": "1", "typeId": rf2.FULLY_SPECIFIED, "conceptId": PSORIASIS, "term": "not the UMLS's"},
    ]
    settings = EventsSettings(
        mrconso="", unmapped="keep", descriptions=rf2_file(tmp_path / "d", rf2.DESCRIPTION, *terms)
    )
    table = map_codes(pl.Series([PSORIASIS, TEXT_MESSAGE, UK_CHILD]), atoms((PSORIASIS, "C1", "N")), settings)
    assert dict(table.select("code", "name").iter_rows()) == {
        PSORIASIS: "C1",
        TEXT_MESSAGE: "Text message sent",
        UK_CHILD: None,
    }


def test_what_is_kept_is_neither_mapped_nor_lost() -> None:
    table = map_codes(
        pl.Series([PSORIASIS, TEXT_MESSAGE]), atoms((PSORIASIS, "C1", "N")), EventsSettings(mrconso="", unmapped="keep")
    )
    report = coverage.report(table.with_columns(events=pl.lit(5, pl.Int64)))
    assert (report["mapped_events"], report["kept_events"], report["events"]) == (5, 5, 10)
    assert (report["events_share"], report["codes_share"]) == (0.5, 0.5)
    assert report["by_namespace"]["uk_extension"]["events_share"] == 0
    assert coverage.lost_events(table.with_columns(events=pl.lit(5, pl.Int64))) == {}


def test_an_override_without_a_concept_is_told(ladder: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("code,cui,name,source\n9014002,,nothing,us\n")
    with pytest.raises(InputError, match=r"own.csv \(events.overrides\), line 2: no CUI"):
        mapped([PSORIASIS], (PSORIASIS, "C1", "N"), **ladder)


def test_coverage_tells_of_the_ladder_in_its_order(ladder: dict[str, object]) -> None:
    table = map_codes(
        pl.Series([PSORIASIS, OLDER, WRONG]),
        atoms((PSORIASIS, "C1", "N")),
        EventsSettings(mrconso="", **ladder),  # type: ignore[arg-type]
    )
    report = coverage.report(table.with_columns(events=pl.lit(10)))
    assert report["ladder"] == [
        {"step": "current", "events": 10, "codes": 1, "events_share_after": pytest.approx(1 / 3)},
        {"step": "replaced", "events": 10, "codes": 1, "events_share_after": pytest.approx(2 / 3)},
    ]


def dictionary(tmp_path: Path, text: str, **named: object) -> CodeDictionary:
    (tmp_path / "table.txt").write_text(text)
    columns = {"code_column": "READCODE", "snomed_column": "CONCEPTID"} | named
    return CodeDictionary(file=str(tmp_path / "table.txt"), **columns)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("recorded", "rows", "step"),
    [
        ("H33..", "H33..\t", "read"),
        ("H33..", "H33..\t00", "read"),
        ("H33..00", "H33..\t", "read"),
        ("H33..00", "H33..\t00", "read"),
        ("H33..12", "H33..\t12", "read"),
        ("H33..12", "H33..\t00", "read_without_term"),
        ("H33..12", "H33..\t", "read_without_term"),
        ("H33..", "H33..\t12", None),
        ("H33..13", "H33..\t12", None),
    ],
)
def test_read_codes_meet_with_and_without_their_term_code(
    tmp_path: Path, recorded: str, rows: str, step: str | None
) -> None:
    text = f"READCODE\tTERMCODE\tCONCEPTID\n{rows}\t{PSORIASIS}\nG20..\t00\t{ASTHMA}\n"
    apart = dictionary(tmp_path, text, term_column="TERMCODE")
    found = map_codes(
        pl.Series([recorded]), atoms((PSORIASIS, "C1", "N")), EventsSettings(mrconso="", migrations={"read_v2": apart})
    )
    assert found.select("step", "concept").row(0) == (step, "C1" if step else None)


def test_an_exact_term_code_comes_before_the_five_bytes(tmp_path: Path) -> None:
    text = f"READCODE\tCONCEPTID\nH33..\t{PSORIASIS}\nH33..12\t{ASTHMA}\n"
    found = map_codes(
        pl.Series(["H33..12"]),
        atoms((PSORIASIS, "C1", "N"), (ASTHMA, "C2", "N")),
        EventsSettings(mrconso="", migrations={"read_v2": dictionary(tmp_path, text)}),
    )
    assert found["concept"].to_list() == ["C2"]


def test_of_several_targets_the_assured_current_and_latest_counts_and_ties_are_runners_up(tmp_path: Path) -> None:
    rows = [
        ("a", "24079001", "1", "20120401", "0"),
        ("a", "9014002", "1", "20120401", "1"),
        ("b", "24079001", "1", "20140401", "1"),
        ("b", "195967001", "1", "20150401", "1"),
        ("c", "9014002", "1", "20140401", "1"),
        ("c", "195967001", "1", "20140401", "1"),
        ("c", "195967001", "1", "20140401", "1"),
        ("d", "9014002", "0", "20140401", "0"),
    ]
    head = "READCODE\tCONCEPTID\tIS_ASSURED\tEFFECTIVEDATE\tMAPSTATUS\n"
    table = dictionary(tmp_path, head + "".join("\t".join(row) + "\n" for row in rows))
    assert read_dictionary(table, "x").rows() == [
        ("a", "9014002", None, ""),
        ("b", "195967001", None, ""),
        ("c", "195967001", None, "9014002"),
        ("d", "9014002", None, ""),
    ]
    current = dictionary(tmp_path, (tmp_path / "table.txt").read_text(), where={"MAPSTATUS": "1"})
    assert read_dictionary(current, "x")["code"].to_list() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("H33..\t195967001\nG20..\n", "line 3: a row with a wrong number of fields"),
        ("H33..\t195967001\nG20", "line 3: a row with a wrong number of fields"),
        ("H33..\t195967001\nG20..\t73211009\nC10..\t7321", "ends in the middle of its last line"),
        ('H33..\t"195967001\nG20..\t73211009\n', "line 2: a row with a quote"),
    ],
)
def test_a_dictionary_that_ends_in_the_middle_is_refused(tmp_path: Path, rows: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_dictionary(dictionary(tmp_path, "READCODE\tCONCEPTID\n" + rows), "events.dictionaries.x.file")


def test_dictionaries_hold_line_breaks_in_quotes_and_need_no_last_line_end(tmp_path: Path) -> None:
    text = 'READCODE,term,CONCEPTID\nH33..,"Asthma,\nG20..,x,9014002\n",195967001\n\nC10..,"5"" plaque",73211009'
    found = read_dictionary(dictionary(tmp_path, text, delimiter=","), "events.dictionaries.x.file")
    assert found.select("code", "snomed").rows() == [("C10..", "73211009"), ("H33..", "195967001")]


def test_a_dictionary_names_the_codes_that_nothing_else_names(tmp_path: Path) -> None:
    """Also one that it does not translate. An atom of the UMLS comes first; a code without a name has none."""
    rows = '11\t9014002\tPsoriasis NOS\n12\t\tEmollient\n13\t24079001\t"Eczema\n14\t195967001\t\n'
    table = dictionary(
        tmp_path,
        "Code\tSnomed\tTerm\n" + rows,
        code_column="Code",
        snomed_column="Snomed",
        name_column="Term",
        quote="",
    )
    settings = EventsSettings(unmapped="keep", dictionaries={"local": table})
    codes = pl.Series([f"local:{code}" for code in (11, 12, 13, 14)])
    mapped = map_codes(codes, atoms((ASTHMA, "C0004096", "N")), settings)
    assert mapped.select("concept", "name").rows() == [
        ("SCT:9014002", "Psoriasis NOS"),
        ("local:12", "Emollient"),
        ("SCT:24079001", '"Eczema'),
        ("C0004096", "C0004096"),
    ]
    assert sorted(names(settings).rows()) == [
        ("24079001", '"Eczema'),
        ("9014002", "Psoriasis NOS"),
        ("local:12", "Emollient"),
    ]
    problems = list(EventsSettings(migrations={"v2": table}).problems())
    assert problems == ["migrations.v2: name_column is for tables of [events.dictionaries]."]


def test_codes_of_icd_10_are_one_concept_in_upper_and_lower_case(tmp_path: Path) -> None:
    """Not so in Read codes and other systems, where 'a' and 'A' may differ in meaning."""
    codes = [
        "icd10:C99.1",
        "icd10:c99.1",
        "ICD10CM:s72.001a//left",
        "icd11:1a00",
        "icd11:1A00",
        "read:xE0aa",
        "read:XE0aa",
    ]
    found = mapped(codes, (PSORIASIS, "C2", "N"), unmapped="keep")
    assert {code: concept for code, (concept, _) in found.items()} == dict(zip(codes, codes, strict=True)) | {
        "icd10:c99.1": "icd10:C99.1",
        "ICD10CM:s72.001a//left": "ICD10CM:S72.001A//left",
    }
    (tmp_path / "names.csv").write_text("code,name\nc99.1,Tumour\n")
    (tmp_path / "own.csv").write_text("code,cui,name,source\nicd10:e11,C0011860,Diabetes,us\n")
    path = tmp_path / "dictionary.txt"
    path.write_text(f"ICD\tSCT\nj45\t{ASTHMA}\nJ45\t{ASTHMA}\nL40\t{PSORIASIS}\n")
    dictionary = CodeDictionary(file=str(path), code_column="ICD", snomed_column="SCT")
    settings = EventsSettings(
        mrconso="",
        unmapped="keep",
        names=(str(tmp_path / "names.csv"),),
        overrides=str(tmp_path / "own.csv"),
        dictionaries={"icd10": dictionary},
    )
    codes = [f"icd10:{code}" for code in ("C99.1", "E11", "J45", "L40", "c99.1", "e11", "j45", "l40")]
    table = map_codes(pl.Series(codes), atoms((ASTHMA, "C1", "N"), (PSORIASIS, "C2", "N")), settings)
    assert table["code"].to_list() == codes
    assert table["concept"].to_list() == 2 * ["icd10:C99.1", "C0011860", "C1", "C2"]
    assert table["name"].to_list() == 2 * ["Tumour", "Diabetes", "C1", "C2"]
