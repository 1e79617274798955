"""Variants of a study: what they are, that equal work is done once, and that the study's own store stays as it is."""

import csv
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline import cli
from ehr_pipeline.errors import SettingsError, UserError
from ehr_pipeline.planning import making_variants as making
from ehr_pipeline.planning import variant_table as writing
from ehr_pipeline.planning.making_variants import VariantResult
from ehr_pipeline.planning.variants import typed, variants
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline_tests.conftest import tiny_settings, write_settings


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("clusters.n=6", {"clusters": {"n": 6}}),
        ("clusters.n = 6, clusters.method=kmeans", {"clusters": {"n": 6, "method": "kmeans"}}),
        ('reports.audited=["sex","age"],study.seed=2', {"reports": {"audited": ["sex", "age"]}, "study": {"seed": 2}}),
        ("embeddings.pooling.select=all", {"embeddings": {"pooling": {"select": "all"}}}),
    ],
)
def test_settings_can_be_typed(text: str, values: dict[str, Any]) -> None:
    assert typed(text) == values


@pytest.mark.parametrize("text", ["clusters.n=", "=6", "clusters.n=6,m", "a b=6"])
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"section\.setting=value"):
        typed(text)


def test_a_variant_is_a_settings_file_or_what_differs(extract: Path, tmp_path: Path) -> None:
    base = tiny_settings(extract)
    whole = write_settings(tmp_path / "whole.toml", extract, tmp_path / "another", clusters={"n": 5})
    some = tmp_path / "some.toml"
    some.write_text("[clusters]\nn = 4\n")
    shared = tmp_path / "shared"
    found = variants(base, [str(whole), str(some), "clusters.n=3", str(some)], shared)
    assert [one.name for one in found] == ["unchanged", "whole", "some", "clusters.n=3", "some (2)"]
    assert [one.study.clusters.n for one in found] == [base.clusters.n, 5, 4, 3, 4]
    assert {one.study.study.store for one in found} == {str(shared)}
    assert [one.name for one in variants(None, [str(whole), "clusters.n=3"], shared)] == ["whole", "clusters.n=3"]
    for given in ([], [str(whole)]):
        with pytest.raises(UserError, match="at least one variant"):
            variants(None, given, shared)
    with pytest.raises(UserError, match="this file does not exist"):
        variants(base, ["nothing.toml"], shared)


@pytest.mark.slow
def test_equal_work_is_done_once_and_the_store_of_the_study_stays(
    tiny: Pipeline, extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Path(tiny.store.root)
    path = write_settings(tmp_path / "tiny.toml", extract, store)
    before = {file: file.stat().st_mtime_ns for file in store.rglob("*") if file.is_file()}
    shared, out = tmp_path / "shared", tmp_path / "out"
    command = ["compare", "--settings", str(path), "clusters.n=5", "--store", str(shared), "--out", str(out)]
    assert cli.main(command) == 0
    assert {file: file.stat().st_mtime_ns for file in store.rglob("*") if file.is_file()} == before
    with (out / writing.CSV).open(encoding="utf-8") as stream:
        rows = {row[0]: row[1:] for row in csv.reader(stream)}
    assert rows["figure"] == ["unchanged", "clusters.n=5"]
    assert rows["clusters"] == ["8", "5"]
    assert rows["validation loss"][0] == rows["validation loss"][1]
    assert float(rows["validation loss"][0]) == pytest.approx(
        tiny.store.current("encoder_checkpoint").counts["validation_loss"], rel=1e-3
    )
    assert rows["reused assets"] == ["18 of 18", "15 of 18"], "clusters, trajectories and the report are made"
    assert rows["memory (GB)"][0] == ""
    assert 0.1 < float(rows["memory (GB)"][1]) < 10
    assert "clusters.n=5" in capsys.readouterr().out
    assert "<tr class=other><td>clusters</td><td>8</td><td>5</td></tr>" in (out / writing.PAGE).read_text()


def test_a_variant_that_fails_is_told_and_does_not_stop_the_others(tiny: Pipeline, tmp_path: Path) -> None:
    base = tiny_settings(tmp_path, study={"store": str(tmp_path / "store")})  # whose landing folder is not there
    made = making.one(variants(base, ["clusters.n=5"], tmp_path / "store")[1])
    assert made.name == "clusters.n=5"
    assert "landing" in made.problem
    text = writing.table([VariantResult("one", {"clusters": 8}, 1.0, 1, 18), made])
    assert text.splitlines()[1].split() == ["clusters", "8"]


def test_names_that_others_chose_do_no_harm(tmp_path: Path) -> None:
    made = [VariantResult("=cmd|'x'", {"verdict <b>": "<script>"}), VariantResult("two", {"verdict <b>": "level"})]
    paths = writing.write(tmp_path / "new", "a & b", made)
    table, page = (path.read_text() for path in paths)
    assert "\n=cmd" not in table
    assert ",=cmd" not in table
    assert "<script>" not in page
    assert "a &amp; b" in page
