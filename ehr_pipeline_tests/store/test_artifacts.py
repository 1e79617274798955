from pathlib import Path

import pytest

from ehr_pipeline.errors import MissingArtifact, UserError
from ehr_pipeline.store.artifacts import Recipe, Store, unbalanced


def recipe(**changes: object) -> Recipe:
    return Recipe(**({"asset": "vocabulary", "version": "1", "settings": {"n": 1}, "inputs": {"a": "x"}} | changes))  # type: ignore[arg-type]


def writes(text: str, note: str = "") -> object:
    def build(out: Path) -> dict[str, int]:
        (out / "data.txt").write_text(text)
        (out / "notes").mkdir()
        (out / "notes" / "seconds.txt").write_text(note)
        return {"rows_in": 1, "kept": 1}

    return build


def test_an_artifact_is_published_with_its_manifest(tmp_path: Path) -> None:
    made = Store(tmp_path).make(recipe(), writes("one"))  # type: ignore[arg-type]
    read = Store(tmp_path).current("vocabulary")
    assert read.file("data.txt").read_text() == "one"
    assert read.manifest["inputs"] == {"a": "x"}
    assert read.manifest["settings"] == {"n": 1}
    assert read.data_version == made.data_version
    assert not made.skipped


def test_the_same_recipe_is_not_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.make(recipe(), writes("one"))  # type: ignore[arg-type]

    def never(out: Path) -> dict[str, int]:
        raise AssertionError

    assert store.make(recipe(), never).skipped


def test_going_back_to_earlier_settings_costs_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.make(recipe(), writes("one"))  # type: ignore[arg-type]
    store.make(recipe(settings={"n": 2}), writes("two"))  # type: ignore[arg-type]
    assert store.current("vocabulary").file("data.txt").read_text() == "two"
    assert store.make(recipe(), writes("never")).skipped  # type: ignore[arg-type]
    assert store.current("vocabulary").file("data.txt").read_text() == "one"


def test_the_data_version_is_the_content_not_the_settings_or_notes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = store.make(recipe(), writes("same", note="3 s"))  # type: ignore[arg-type]
    two = store.make(recipe(settings={"n": 2}), writes("same", note="4 s"))  # type: ignore[arg-type]
    three = store.make(recipe(settings={"n": 3}), writes("other"))  # type: ignore[arg-type]
    assert one.data_version == two.data_version != three.data_version


def test_a_failure_leaves_the_earlier_artifact_and_no_half_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.make(recipe(), writes("one"))  # type: ignore[arg-type]

    def fails(out: Path) -> dict[str, int]:
        (out / "data.txt").write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.make(recipe(settings={"n": 2}), fails)
    assert store.current("vocabulary").file("data.txt").read_text() == "one"
    assert len([path for path in (tmp_path / "vocabulary/vocabulary").iterdir() if path.is_dir()]) == 1


def test_an_unwritable_store_is_told(tmp_path: Path) -> None:
    def no_space(out: Path) -> dict[str, int]:
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"No space left on device. Make room there, .* Nothing was published"):
        Store(tmp_path).make(recipe(), no_space)


def test_a_missing_artifact_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r'run --settings FILE --select "\+clusters"'):
        Store(tmp_path).current("clusters")


def test_partitions_stand_side_by_side(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for extract in ("2021-01-01", "2020-01-01"):
        store.make(recipe(asset="raw_records", partition=extract), writes(extract))  # type: ignore[arg-type]
    assert store.partitions("raw_records") == ["2020-01-01", "2021-01-01"]
    assert store.current("raw_records", "2020-01-01").file("data.txt").read_text() == "2020-01-01"


@pytest.mark.parametrize(
    ("counts", "lost"),
    [({"rows_in": 5, "kept": 2, "collapsed": 1, "dropped": {"a": 2}}, 0), ({"rows_in": 5, "kept": 2}, 3)],
)
def test_rows_that_are_not_accounted_for(counts: dict[str, int], lost: int) -> None:
    assert unbalanced(counts) == lost


def test_what_a_removal_left_that_was_cut_short_is_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.make(recipe(), writes("one")).file("manifest.json").unlink()  # type: ignore[arg-type]
    assert not store.make(recipe(), writes("two")).skipped  # type: ignore[arg-type]
    assert store.current("vocabulary").file("data.txt").read_text() == "two"
