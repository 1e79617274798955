from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.errors import InputError
from ehr_pipeline.patients import derived_attributes
from ehr_pipeline.patients.settings import DerivedAttribute
from ehr_pipeline.tables import row_keys, schemas

CODES = {"92461000000108": "White", "92391000000108": "White", "92581000000107": "Asian", "92661000000105": "Black"}
OTHER = "24079001"
Event = tuple[str, int, str]


def table_of_codes(tmp_path: Path) -> str:
    path = tmp_path / "ethnicity.csv"
    path.write_text("code,value\n" + "".join(f"{code},{value}\n" for code, value in CODES.items()))
    return str(path)


def records(path: Path, events: list[Event]) -> Path:
    ids, codes = sorted({event[0] for event in events}), sorted({event[2] for event in events})
    columns = zip(*((ids.index(who), day, codes.index(code)) for who, day, code in events), strict=True)
    keys = np.sort(row_keys.pack(*(np.array(column, np.int64) for column in columns)))
    schemas.write(path, row_keys.to_table(keys, pa.array(ids), pa.array(codes), "code"))
    return path


def people(**given: str) -> pa.Table:
    return pa.table({"patient_id": list(given), "ethnicity": list(given.values())})


def expected(events: list[Event], who: str, rule: str) -> str:
    """By the words of the rule."""
    told = {(day, CODES[code]) for patient, day, code in events if patient == who and code in CODES}
    days = Counter(value for _, value in told)
    last = {value: max(day for day, other in told if other == value) for value in days}
    order = {
        "most_recent": lambda value: (-last[value], -days[value], value),
        "most_frequent": lambda value: (-days[value], -last[value], value),
    }
    return min(days, key=order[rule], default="")


def test_icd_codes_are_found_in_any_spelling(tmp_path: Path) -> None:
    (tmp_path / "codes.csv").write_text("code,value\nICD10CM:Z60.2,alone\n")
    shard = records(tmp_path / "events.arrow", [("a", 1, "ICD10CM:z602"), ("b", 1, "ICD10CM:Z603")])
    attribute = {"living": DerivedAttribute(codes=str(tmp_path / "codes.csv"))}
    filled = derived_attributes.fill(people(a="", b=""), (shard,), attribute)
    assert filled.column("living").to_pylist() == ["alone", ""]


EVENTS = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3), st.sampled_from([*CODES, OTHER])), min_size=1, max_size=12
)


@pytest.mark.parametrize("rule", ["most_recent", "most_frequent"])
def test_the_value_that_the_rule_says(tmp_path: Path, rule: str) -> None:
    attribute = {"ethnicity": DerivedAttribute(codes=table_of_codes(tmp_path), rule=rule)}

    @settings(max_examples=60, deadline=None)
    @given(EVENTS, EVENTS)
    def holds(older: list[Event], newer: list[Event]) -> None:
        shards = (records(tmp_path / "1.arrow", older), records(tmp_path / "2.arrow", newer))
        found = derived_attributes.fill(people(a="", b=""), shards, attribute)
        assert found.column("ethnicity").to_pylist() == [expected(older + newer, who, rule) for who in ("a", "b")]

    holds()


def test_what_the_patient_file_says_comes_first(tmp_path: Path) -> None:
    shard = records(tmp_path / "1.arrow", [("a", 1, "92461000000108"), ("b", 1, "92461000000108")])
    attributes = {name: DerivedAttribute(codes=table_of_codes(tmp_path)) for name in ("ethnicity", "coded")}
    found = derived_attributes.fill(people(a="Mixed", b="", c=""), (shard,), attributes)
    assert found.column("ethnicity").to_pylist() == ["Mixed", "White", ""]
    assert found.column("coded").to_pylist() == ["White", "White", ""]


def test_a_table_of_codes_that_cannot_be_meant(tmp_path: Path) -> None:
    path = tmp_path / "codes.csv"
    for text, told in (
        ("snomed,value\n1,x\n", "line 1: no column code"),
        ("code,value\n1,x\n1,y\n", "line 3: code 1 has two values"),
        ("code,value\n1,\n", "line 2: a row needs both"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=rf"codes.csv \(patients.derived.x.codes\), {told}"):
            derived_attributes.read(str(path), derived_attributes.setting("x"))
    with pytest.raises(InputError, match=r"\(patients.derived.x.codes\): .* cannot be read: No such file"):
        derived_attributes.read(str(tmp_path / "none.csv"), derived_attributes.setting("x"))
