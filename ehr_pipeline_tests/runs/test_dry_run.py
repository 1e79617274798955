"""What a run would do is said without doing it, and is what a run does."""

import shutil
from dataclasses import replace
from pathlib import Path

from ehr_pipeline.runs import dry_run
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings


def changed(tiny: Pipeline, store: Path | None = None, n: int | None = None) -> Pipeline:
    study = tiny.study
    if store:
        study = replace(study, study=replace(study.study, store=str(store)))
    if n:
        study = settings.with_overrides(study, {"clusters": {"n": n}})
    return Pipeline(study)


def files(store: Path) -> dict[str, float]:
    """When the files of a store were changed, besides the notes of when each artifact was last compared."""
    return {
        str(path): path.stat().st_mtime for path in store.rglob("*") if path.is_file() and path.suffix != ".verified"
    }


def test_everything_is_made_and_nothing_is_touched(tiny: Pipeline) -> None:
    before = files(tiny.store.root)
    found = list(dry_run.states(tiny))
    assert {one.state for one in found} == {dry_run.MADE}, found
    assert all(one.seconds is not None for one in found)
    assert files(tiny.store.root) == before


def test_a_changed_setting_makes_its_asset_stale_and_what_follows(tiny: Pipeline) -> None:
    found = {one.asset: one for one in dry_run.states(changed(tiny, n=5))}
    assert {name for name, one in found.items() if one.state != dry_run.MADE} == {
        "clusters",
        "patient_trajectories",
        "cluster_reports",
    }
    assert found["clusters"].why.startswith("settings changed: n (8 → 5)")
    assert found["cluster_reports"].why == "follows clusters, patient_trajectories"


def test_in_an_empty_store_nothing_is_made(tiny: Pipeline, tmp_path: Path) -> None:
    found = list(dry_run.states(changed(tiny, store=tmp_path / "store")))
    assert {(one.state, one.why, one.seconds) for one in found} == {(dry_run.MISSING, "was never made", None)}


def test_what_fits_but_is_not_current_is_stale(tiny: Pipeline, tmp_path: Path) -> None:
    """A run would make it current again, and make what follows."""
    copy = changed(tiny, store=shutil.copytree(tiny.store.root, tmp_path / "store"))
    other = Pipeline(settings.with_overrides(copy.study, {"concepts": {"neighbours": 5}}))
    assert not other.concept_embeddings().skipped
    found = {one.asset: one for one in dry_run.states(copy)}
    assert (found["concept_embeddings"].state, found["concept_embeddings"].why) == (dry_run.STALE, dry_run.RETURNS)
    assert found["patient_embeddings"].why == "follows concept_embeddings"
    assert copy.concept_embeddings().skipped
    assert {one.state for one in dry_run.states(copy)} == {dry_run.MADE}
