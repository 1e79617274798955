"""Terms of use, classes of artifacts, what is released, and who may read what is written."""

import csv
import datetime
import json
import os
import shutil
import stat
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline import cli
from ehr_pipeline.disclosure import figures, governance, kinds
from ehr_pipeline.disclosure.governance import GovernanceSettings
from ehr_pipeline.disclosure.kinds import Events, People
from ehr_pipeline.errors import SettingsError, UserError
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.export import release
from ehr_pipeline.planning import preflight
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.count_kinds import declared
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline.terminology import snomed
from ehr_pipeline.typed_settings import file_hash
from ehr_pipeline_tests.conftest import tiny_settings

TERMS = {"licence": "CPRD 22_000", "protocol": "21_001", "expires": "2999-12-31"}


@pytest.fixture
def umask() -> object:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def released(tiny: Pipeline, extract: Path, tmp_path: Path) -> Path:
    study = tiny_settings(extract, study={"store": str(tiny.store.root)}, governance=TERMS)
    release.release(Pipeline(study), tmp_path / "out")
    return tmp_path / "out"


def test_everything_is_restricted_but_the_page(tiny: Pipeline) -> None:
    """Tables with exact counts stand beside the page in the same folder."""
    told = {asset: tiny.store.current(asset).manifest["governance"] for asset in STAGES if asset != "raw_records"}
    assert {found["class"] for found in told.values()} == {"restricted"}
    assert {asset: found["releasable"] for asset, found in told.items() if "releasable" in found} == {
        "cluster_reports": "report.html",
        "prediction_report": "prediction_report.html",
    }
    assert governance.label((), GovernanceSettings())["class"] == "restricted"


def test_the_terms_stand_in_the_manifest_and_the_report(tiny: Pipeline, extract: Path) -> None:
    before = tiny.cluster_reports().manifest["fingerprint"]
    study = tiny_settings(extract, study={"store": str(tiny.store.root)}, governance=TERMS)
    made = Pipeline(study).cluster_reports()
    assert made.manifest["governance"] == {"class": "restricted", "releasable": "report.html", **TERMS}
    assert all(value in made.file("report.html").read_text() for value in TERMS.values())
    assert tiny.cluster_reports().manifest["fingerprint"] == before


@pytest.mark.parametrize(("today", "refused"), [("2025-06-30", False), ("2025-07-01", True)])
def test_after_the_last_day_nothing_is_permitted(today: str, refused: bool) -> None:
    settings = GovernanceSettings(expires="2025-06-30", licence="CPRD 22_000")
    date = datetime.date.fromisoformat(today)
    if refused:
        with pytest.raises(UserError, match=r"until 2025-06-30 .* 'CPRD 22_000'"):
            governance.refuse_if_expired(settings, date)
    else:
        governance.refuse_if_expired(settings, date)


def test_an_expired_licence_makes_exports_and_releases_nothing(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    study = tiny_settings(
        extract, study={"store": str(tiny.store.root)}, governance={"expires": "2020-01-01"}, clusters={"n": 3}
    )
    assert any("governance.expires" in problem for problem in preflight.inspect(study).problems)
    pipeline = Pipeline(study)
    for act in (
        pipeline.clusters,
        lambda: pipeline.require("vocabulary"),
        lambda: release.release(pipeline, tmp_path / "r"),
    ):
        with pytest.raises(UserError, match=r"governance\.expires"):
            act()
    assert not (tmp_path / "r").exists()


def test_a_date_that_is_none_is_told(extract: Path) -> None:
    with pytest.raises(SettingsError, match="governance: expires is a date"):
        tiny_settings(extract, governance={"expires": "soon"})


def test_a_release_holds_what_it_should_and_nothing_else(released: Path, tiny: Pipeline) -> None:
    names = {path.name for path in released.iterdir()}
    assert names == {"report.html", "mapping.csv", "vocabulary.csv", "counts.json", "manifest.json"}
    manifest = json.loads((released / "manifest.json").read_text())
    assert {name: manifest[name] for name in TERMS} == TERMS
    assert manifest["class"] == "releasable"
    assert {name: found["sha256"] for name, found in manifest["files"].items()} == {
        name: file_hash(released / name) for name in names - {"manifest.json"}
    }
    with pytest.raises(UserError, match="already exists"):
        release.release(tiny, released)


def test_a_second_report_of_a_store_warns_that_counts_can_be_subtracted(
    extract: Path, tiny: Pipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny.store.root, store, symlinks=True)
    (store / release.RELEASES).unlink(missing_ok=True)

    def releases(name: str, title: str) -> list[str]:
        caplog.clear()
        pipeline = Pipeline(tiny_settings(extract, study={"store": str(store)}, reports={"title": title}))
        pipeline.cluster_reports()
        release.release(pipeline, tmp_path / name)
        return [record.getMessage() for record in caplog.records if record.name == "ehr_pipeline"]

    assert releases("first", "one") == []
    assert releases("again", "one") == [], "the same page tells nothing new"
    (warning,) = releases("second", "two")
    assert "subtract the counts of one from those of the other" in warning


def test_released_counts_are_neither_small_nor_exact(released: Path, tiny: Pipeline) -> None:
    smallest, to = tiny.study.reports.suppress_below, tiny.study.governance.round_to
    for table, columns in (("mapping.csv", ["events"]), ("vocabulary.csv", ["events", "patients"])):
        with (released / table).open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert rows
        for column in columns:
            numbers = [int(row[column]) for row in rows]
            assert all(number >= smallest for number in numbers), "a name that nobody bears any more is not told either"
            assert all(number % to == 0 for number in numbers)
    with tiny.store.current("mapped_events").file("mapping.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    rare = {row["snomed"] for row in rows if int(row["patients"]) < smallest}
    assert rare, "there are rare codes to leave out"
    assert any(int(row["events"]) >= smallest for row in rows if row["snomed"] in rare), "some by their patients alone"
    with (released / "mapping.csv").open(newline="") as stream:
        assert not rare & {row["snomed"] for row in csv.DictReader(stream)}

    def pairs(shown: object, figure: object) -> list[tuple[object, object]]:
        if isinstance(shown, dict) and isinstance(figure, dict):
            return [pair for key, part in shown.items() for pair in pairs(part, figure[key])]
        return [(shown, figure)]

    told = json.loads((released / "counts.json").read_text())
    counts = [
        shown
        for asset, part in told.items()
        for shown, figure in pairs(part, kinds.figures(tiny.store.current(asset).counts, declared(asset)))
        if isinstance(figure, People | Events) and shown is not None
    ]
    assert len(counts) > 20
    assert all(isinstance(number, int) and number % to == 0 for number in counts)


MAPPED = {"code": "9014002", "kind": "concept", "concept": "C1", "step": "current", "name": "Psoriasis"}


@pytest.mark.parametrize(
    ("change", "known"),
    [
        ({}, True),
        ({"step": "kept", "concept": "SCT:19991000000100", "name": ""}, False),
        ({"step": "kept", "concept": "SCT:19991000000100", "name": "Local psoriasis"}, True),
        ({"step": "", "concept": "", "name": ""}, False),
        ({"kind": "bad_check_digit"}, False),
        ({"kind": "bad_check_digit", "step": "override"}, False),
        ({"kind": "other", "step": "override", "name": ""}, True),
    ],
)
def test_a_code_that_no_terminology_knows_never_leaves(change: dict[str, str], known: bool) -> None:
    assert release._code_is_known(MAPPED | change) == known


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=30), st.sampled_from([1, 5, 10]))
def test_a_row_leaves_only_while_enough_patients_bear_it(rows: list[tuple[int, int]], below: int) -> None:
    """Whatever else is in the table: its events may be many, and one patient's."""
    table: list[release.Row] = [
        {"code": f"n{n}", "name": f"n{n}", "events": patients + more, "patients": patients}
        for n, (patients, more) in enumerate(rows)
    ]
    naming = figures.Naming(below, "key")
    left = list(release._guarded(table, ("name", "events"), release.ReleaseRules(figures.Guard(below, 10), naming)))
    names = {row[0] for row in left}
    assert names == {row["name"] for row in table if row["patients"] >= naming.needed(row["code"])}
    assert all(row["name"] in names for row in table if row["patients"] >= 2 * below)
    assert all(row["patients"] > below - (below == 1) for row in table if row["name"] in names)
    assert all(len(row) == 2 and row[1] % 10 == 0 for row in left)


def test_codes_in_the_release_are_known(released: Path, tiny: Pipeline) -> None:
    with (released / "mapping.csv").open(newline="") as stream:
        left = list(csv.DictReader(stream))
    with (released / "vocabulary.csv").open(newline="") as stream:
        assert all(row["name"] != row["concept"] for row in csv.DictReader(stream))
    kinds = snomed.classify(pl.Series("code", [row["snomed"] for row in left]))
    assert "bad_check_digit" not in set(kinds["kind"])
    assert all(row["concept"] for row in left)


def test_a_mapping_without_patients_is_not_released(tmp_path: Path) -> None:
    (tmp_path / "mapping.csv").write_text("code,snomed,concept,events\n1,1,C1,30\n")
    with pytest.raises(UserError, match="earlier version of this package, which did not count patients by code"):
        release._refuse_uncounted(Mapping.read(tmp_path))


def test_what_is_written_is_closed_to_others(umask: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["synth", str(tmp_path / "extract"), "--patients", "20"]) == 0
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    assert all(not stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO for path in written)
    os.umask(0o077)
    governance.private_files()
    assert os.umask(0o077) == 0o077, "what is stricter stays"
