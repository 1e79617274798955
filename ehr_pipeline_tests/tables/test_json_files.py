"""JSON files are written in one form, and a damaged one is named."""

from pathlib import Path

import pytest

from ehr_pipeline.errors import Damaged
from ehr_pipeline.tables import json_files


def test_what_is_written_is_read(tmp_path: Path) -> None:
    value = {"é": [1, None, 0.1], "b": {"c": True}}
    json_files.write(tmp_path / "file.json", value)
    assert json_files.read(tmp_path / "file.json") == value
    assert (tmp_path / "file.json").read_text().startswith('{\n "\\u00e9": [\n  1,')
    assert (tmp_path / "file.json").read_text().endswith("}\n")


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(Damaged, match=r"file\.json cannot be read"):
        json_files.read(tmp_path / "file.json")
