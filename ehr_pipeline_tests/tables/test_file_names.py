"""Who reads a file of an artifact asks the room that writes it: only there does its name stand as a literal."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import ehr_pipeline
from ehr_pipeline.assets import ASSETS
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.tables.asset_names import package_of

PACKAGE = Path(ehr_pipeline.__file__).parent
APART = {
    "README.md": None,  # of any folder
    "substitutes.csv": "concepts",  # whose class writes itself
    "agreement.json": "trajectories",  # has one of its own, where patients change
}
"""Names that another room writes as well; None: every room."""
BUCKET = re.compile(r"\d+\.arrow")


def written(pipeline: Pipeline) -> dict[str, set[str]]:
    """The names of the data files of all artifacts, buckets left out, with the rooms that write them."""
    rooms: dict[str, set[str]] = {}
    for asset in ASSETS:
        room = package_of(asset)
        for partition in pipeline.store.partitions(asset) or [None]:
            for path in pipeline.store.current(asset, partition).manifest["files"]:
                if not BUCKET.fullmatch(name := path.rsplit("/", 1)[-1]):
                    rooms.setdefault(name, set()).add(room)
    for name, room in APART.items():
        rooms.get(name, set()).add(room or "")
    return {name: writers for name, writers in rooms.items() if "" not in writers}


def named(source: str, names: dict[str, set[str]], room: str) -> Iterator[str]:
    """The literals of a module that name a file which its room does not write."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.rsplit("/", 1)[-1]
            if name in names and room not in names[name]:
                yield f"line {node.lineno}: {node.value}"


def test_files_of_an_artifact_are_named_where_they_are_written_alone(tiny: Pipeline) -> None:
    names = written(tiny)
    assert {
        "cohort.arrow",
        "clusters.arrow",
        "mapping.csv",
        "vocabulary.csv",
        "selected.json",
        "vectors.npy",
    } <= names.keys()
    found = {
        str(module): literals
        for path in sorted(PACKAGE.rglob("*.py"))
        for module in [path.relative_to(PACKAGE)]
        if (literals := list(named(path.read_text(encoding="utf-8"), names, module.parts[0])))
    }
    assert not found, "read them through the readers of the stage that writes them"


def test_a_literal_elsewhere_is_found() -> None:
    names = {"cohort.arrow": {"cohort"}}
    source = 'def f(folder):\n    """Reads cohort.arrow."""\n    return folder / "cohort.arrow", folder / "notes/cohort.arrow"\n'
    assert list(named(source, names, "cohort")) == []
    assert list(named(source, names, "clusters")) == ["line 3: cohort.arrow", "line 3: notes/cohort.arrow"]
