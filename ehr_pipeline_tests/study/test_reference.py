import dataclasses
import typing
from pathlib import Path

import pytest

from ehr_pipeline.cli import main
from ehr_pipeline.records.layouts import EventFiles
from ehr_pipeline.study import reference
from ehr_pipeline.study.settings import Study

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_in_docs_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    assert PAGE.read_text(encoding="utf-8") == capsys.readouterr().out, (
        "run `.venv/bin/ehr-pipeline settings > docs/settings.md`"
    )


def test_every_setting_stands_in_its_table() -> None:
    sections = dict(part.split("`\n", 1) for part in reference.markdown().split("\n## `")[1:])
    for field in dataclasses.fields(Study):
        assert f"[{field.name}]" in sections
    for name in typing.get_type_hints(EventFiles):
        if name != "columns":
            assert f"| `{name}` |" in sections["[[records.events]]"]
    assert "| `code` | text | **must be given** |" in sections["[records.events.columns]"]
    assert "| `snomed_column` | text | **must be given** |" in sections["[events.dictionaries.NAME]"]
    assert "| `buckets` | whole number ≥ 0, ≤ 4096 | `0` | result |" in sections["[records]"]
    assert "| `workers` | whole number ≥ 1, ≤ 512 | `1` | speed |" in sections["[records]"]
    assert "| `min_size` | whole number ≥ 1 | `50` | check |" in sections["[vocabulary]"]
    assert "preset `demo`: `hidden_size = 128`" in sections["[encoder]"]
