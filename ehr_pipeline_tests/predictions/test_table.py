"""The tables of results come back as they were written, and what is no such table is refused."""

from pathlib import Path

import pyarrow as pa
import pytest

from ehr_pipeline.errors import Damaged
from ehr_pipeline.predictions.models import MODELS
from ehr_pipeline.predictions.table import (
    TABLES,
    TaskResults,
    empty,
    joined,
)


def value(kind: pa.DataType, number: int) -> object:
    if pa.types.is_string(kind):
        return f"=text {number}"
    if pa.types.is_boolean(kind):
        return number % 2 == 0
    return number if pa.types.is_integer(kind) else number / 7


def one_of_each() -> TaskResults:
    """A row of values and a row of nulls in each table."""
    full = {name: {f.name: value(f.type, n) for n, f in enumerate(kind)} for name, kind in TABLES.items()}
    empty = {name: {f.name: "" if pa.types.is_string(f.type) else None for f in kind} for name, kind in TABLES.items()}
    return TaskResults(**{name: (full[name], empty[name]) for name in TABLES})


def test_tables_come_back(tmp_path: Path) -> None:
    written = one_of_each()
    written.write(tmp_path)
    assert TaskResults.read(tmp_path) == written
    (tmp_path / "guards.csv").write_text("a,b\n1,2\n")
    with pytest.raises(Damaged, match=r"guards\.csv: it has no column guard"):
        TaskResults.read(tmp_path)


def test_results_of_one_model() -> None:
    rows = [
        {"task": task, "model": model, "labels": labels, "replicate": replicate}
        for task in ("a", "b")
        for model in ("counts", "masked")
        for labels in (10, None)
        for replicate in range(2)
    ]
    found = joined([empty(), TaskResults(tuple(rows), *((),) * 7)]).of("b", "counts", None)
    assert [row["replicate"] for row in found] == [0, 1]
    assert all((row["task"], row["model"], row["labels"]) == ("b", "counts", None) for row in found)


def test_models_have_names_of_their_own() -> None:
    assert len({model.name for model in MODELS}) == len({model.title for model in MODELS}) == len(MODELS)
