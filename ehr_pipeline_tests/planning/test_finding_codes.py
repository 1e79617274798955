from dataclasses import replace
from pathlib import Path

import pytest

from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.events.settings import CodeDictionary
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.planning import finding_codes
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.study.settings import Study
from ehr_pipeline.terminology import code_lists, rf2

NAMES = {"195967001": "Asthma", "389145006": "Allergic asthma", "12345600": "Wheeze", "56018004": "Wheezing"}


def atom(code: str, cui: str, name: str) -> str:
    return f"{cui}|ENG|P|L|PF|S|Y|A||{code}||SNOMEDCT_US|PT|{code}|{name}|9|N||\n"


def edge(number: int, child: str, parent: str, active: str = "1") -> str:
    values = (str(number), "20200101", active, "m", child, parent, "0", rf2.IS_A, "c", "m")
    return "\t".join(values) + "\n"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    atoms = "".join(atom(code, f"C000000{place}", name) for place, (code, name) in enumerate(NAMES.items()))
    (tmp_path / "MRCONSO.RRF").write_text(atoms)
    head = "\t".join([*rf2.RELATIONSHIP, "characteristicTypeId", "modifierId"]) + "\n"
    below = edge(1, "56018004", "389145006") + edge(2, "389145006", "195967001") + edge(3, "12345600", "195967001", "0")
    (tmp_path / "relationships.txt").write_text(head + below)
    read = settings.validate(
        {
            "study": {"name": "s", "store": str(tmp_path / "store")},
            "records": {"landing": str(tmp_path / "landing"), "source": "meds"},
            "events": {
                "mrconso": str(tmp_path / "MRCONSO.RRF"),
                "relationships": [str(tmp_path / "relationships.txt")],
            },
        }
    )
    return read


def test_codes_are_found_by_all_words_and_with_what_is_below_them(study: Study) -> None:
    found = finding_codes.find("ASTHMA", study, None).table
    assert dict(found.select("code", "source").iter_rows()) == {
        "195967001": "name: ASTHMA",
        "389145006": "name: ASTHMA",
        "56018004": "below 389145006",
    }
    assert set(finding_codes.find("asthma allergic", study, None).table["code"]) == {"389145006", "56018004"}
    flat = replace(study, events=replace(study.events, relationships=()))
    assert set(finding_codes.find("asthma", flat, None).table["code"]) == {"195967001", "389145006"}


def test_the_list_can_be_read_as_one(study: Study, tmp_path: Path) -> None:
    found = finding_codes.find("asthma", study, None)
    found.write(tmp_path / "list.csv")
    rows = code_lists.read(tmp_path / "list.csv")
    assert [(row.code, row.cui) for row in rows] == list(found.table.select("code", "cui").iter_rows())
    with pytest.raises(UserError, match="already exists"):
        found.write(tmp_path / "list.csv")


def test_without_any_name_the_message_names_the_right_setting(study: Study, tiny: Pipeline) -> None:
    bare = replace(study, events=replace(study.events, mrconso=""))
    told = r"events\.descriptions .*description files.* with its name_column; .* events\.omop_vocabulary"
    with pytest.raises(InputError, match=told):
        finding_codes.find("asthma", bare, None)
    assert finding_codes.find("psoriasis", bare, tiny.store.current("mapped_events")).table.height


def test_codes_are_counted_in_the_extracts(tiny: Pipeline) -> None:
    mapped = tiny.store.current("mapped_events")
    found = finding_codes.find("psoriasis", tiny.study, mapped).table
    table = Mapping.read(mapped.path, "code", "events", "patients").table
    recorded = dict(table.select("code", "events").iter_rows())
    plain = found.filter(code="9014002")
    assert plain["events"].item() >= recorded["9014002"] > 0
    assert found["events"].to_list() == sorted(found["events"], reverse=True)
    assert 0 < plain["patients"].item() <= 400


def test_without_names_nothing_can_be_found(study: Study) -> None:
    nameless = replace(study, events=replace(study.events, mrconso=""))
    with pytest.raises(InputError, match="No code has a name"):
        finding_codes.find("asthma", nameless, None)


def test_names_of_dictionaries_and_of_omop_are_searched_before_anything_is_mapped(study: Study, tmp_path: Path) -> None:
    """And a product counts as its ingredient, which its events become."""
    (tmp_path / "table.txt").write_text("Code\tSnomed\tTerm\n11\t9014002\tPsoriasis\n12\t\tPsoriasis cream\n")
    (tmp_path / "CONCEPT.csv").write_text(
        "concept_id,concept_name,domain_id,vocabulary_id,concept_class_id,standard_concept,concept_code\n"
        "1,Guttate psoriasis,Condition,SNOMED,Clinical Finding,S,37042000\n"
        "2,Psoriasis,Condition,ICD10CM,3-char billing code,,L40\n"
        "3,Psoriasis score,Measurement,Own list,Lab Test,S,77\n"
        "4,psoriasis ointment,Drug,RxNorm,Clinical Drug,S,5\n"
        "5,antipsoriasis,Drug,RxNorm,Ingredient,S,6\n"
    )
    (tmp_path / "CONCEPT_ANCESTOR.csv").write_text("ancestor_concept_id,descendant_concept_id\n5,4\n")
    table = CodeDictionary(
        file=str(tmp_path / "table.txt"), code_column="Code", snomed_column="Snomed", name_column="Term"
    )
    named = replace(study.events, mrconso="", dictionaries={"local": table}, omop_vocabulary=str(tmp_path))
    found = finding_codes.find("Psoriasis", replace(study, events=named), None)
    assert sorted(found.table["code"]) == ["37042000", "9014002", "Own_list:77", "RxNorm:6", "local:12"]
    assert found.looked_in == ("events.dictionaries", "events.omop_vocabulary")
