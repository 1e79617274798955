"""The one walk: links are followed, circles end, and the same files are listed by each version of Python."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.errors import InputError
from ehr_pipeline.store import file_listing as module
from ehr_pipeline.store.file_listing import glob, links_outside, misplaced, refuse_links, walk


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def matching(folder: Path, *patterns: str) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in walk(folder).matching(patterns)]


@pytest.fixture
def extract(tmp_path: Path) -> Path:
    """An extract with a linked file and a linked folder, which lie outside the landing folder."""
    put(tmp_path, "landing/x/data/train/0.parquet", "disk/held_out/deep/1.parquet", "disk/2.parquet")
    folder = tmp_path / "landing" / "x"
    (folder / "data" / "held_out").symlink_to(tmp_path / "disk" / "held_out")
    (folder / "data" / "2.parquet").symlink_to("../../../disk/2.parquet")
    return folder


def test_linked_files_and_folders_are_listed_below_their_links(extract: Path) -> None:
    everything = ["data/2.parquet", "data/held_out/deep/1.parquet", "data/train/0.parquet"]
    assert matching(extract, "data/**/*.parquet") == everything
    assert matching(extract, "**") == everything
    assert matching(extract, "data/*.parquet") == ["data/2.parquet"]
    assert matching(extract, "data/held_out/*/*.parquet") == ["data/held_out/deep/1.parquet"]


def test_links_that_lead_outside_are_named_with_where_they_lead(extract: Path, tmp_path: Path) -> None:
    (extract / "data" / "again").symlink_to("train")
    tree = walk(extract)
    disk = Path(os.path.realpath(tmp_path)) / "disk"
    assert tree.outside(extract.parent) == {
        "x/data/2.parquet": str(disk / "2.parquet"),
        "x/data/held_out": str(disk / "held_out"),
    }
    (told,) = links_outside(tree, extract.parent, "extract x")
    assert "extract x: 2 links lead outside" in told
    assert f"x/data/held_out -> {disk}/held_out" in told
    (extract.parent / "y").symlink_to(tmp_path / "disk")
    assert walk(extract.parent / "y").outside(extract.parent) == {"y": str(disk)}
    assert links_outside(walk(tmp_path / "disk"), tmp_path, "disk") == []


def test_links_can_be_forbidden(extract: Path) -> None:
    tree = walk(extract, follow=False)
    assert [path.name for path in tree.files] == ["0.parquet"]
    with pytest.raises(
        InputError, match=r"landing: follow is false, but x/data/2.parquet, x/data/held_out are links"
    ) as told:
        refuse_links(tree, "follow")
    assert "0.parquet" not in str(told.value)
    (extract.parent / "z").symlink_to(extract / "data" / "train")
    with pytest.raises(InputError, match="z is a link"):
        refuse_links(walk(extract.parent / "z", follow=False), "follow")
    refuse_links(walk(extract / "data" / "train", follow=False), "follow")


def test_a_file_of_several_names_is_read_once_by_its_own_name(extract: Path) -> None:
    (extract / "a_first").symlink_to("data")
    (extract / "data" / "a.parquet").symlink_to("2.parquet")
    assert matching(extract, "**/*.parquet") == [
        "a_first/2.parquet",
        "a_first/held_out/deep/1.parquet",
        "data/train/0.parquet",
    ]
    assert matching(extract, "a_first/train/*") == ["a_first/train/0.parquet"], "the only name that matches"


@pytest.mark.parametrize(("name", "target"), [("loop", "."), ("data/up", ".."), ("data/itself", "itself")])
def test_circles_end(extract: Path, name: str, target: str) -> None:
    before = matching(extract, "data/**/*.parquet")
    (extract / name).symlink_to(target)
    if name == "data/itself":
        with pytest.raises(InputError, match="data/itself: the link leads to a file or folder that does not exist"):
            matching(extract, "data/**/*.parquet")
    else:
        assert matching(extract, "data/**/*.parquet") == before


def test_folders_that_link_each_other_are_listed_once(tmp_path: Path) -> None:
    put(tmp_path, "a/1.txt", "b/2.txt")
    (tmp_path / "a" / "b").symlink_to("../b")
    (tmp_path / "b" / "a").symlink_to("../a")
    assert matching(tmp_path, "**/*.txt") == ["a/1.txt", "b/2.txt"]
    assert matching(tmp_path, "a/**") == ["a/1.txt", "a/b/2.txt"]


def test_folders_that_all_link_each_other_are_walked_in_short_time(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abcdefgh"]
    for folder in folders:
        put(folder, "x.txt")
        for other in folders:
            (folder / f"to_{other.name}").symlink_to(other)
    tree = walk(tmp_path)
    assert len(tree.links) == 64
    assert len(tree.files) <= 8 + 64 * 8, "not 8! paths"
    assert matching(tmp_path, "**/*.txt") == [f"{name}/x.txt" for name in "abcdefgh"]
    assert matching(tmp_path, "a/to_b/**") == [f"a/to_b/to_{name}/x.txt" for name in "cdefgh"] + ["a/to_b/x.txt"]


def test_links_without_end_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LINKED", 50)
    folders = [tmp_path / str(number) for number in range(6)]
    for folder in folders:
        folder.mkdir()
        for other in folders:
            (folder / f"to_{other.name}").symlink_to(other)
    with pytest.raises(InputError, match="links lead to more than 50 folders"):
        walk(tmp_path)


@pytest.mark.parametrize("pattern", ["data/**/*.parquet", "data/*.parquet", "data/0.parquet"])
def test_a_folder_that_leads_nowhere_is_named_where_files_are_looked_for(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "data").symlink_to(tmp_path / "not_mounted")
    with pytest.raises(InputError, match="data: the link leads to a file or folder that does not exist"):
        matching(tmp_path, pattern)
    assert matching(tmp_path, "events*.txt", "other/**") == []
    assert misplaced(tmp_path) == [f"{tmp_path}/data: {module.NOWHERE}"]


def test_deep_folders_and_hidden_ones(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(300):
        folder /= "a"
        folder.mkdir()
    put(folder, "deep.txt")
    put(tmp_path, ".git/x.txt", ".x.txt")
    assert [path.name for path in walk(tmp_path).files] == ["deep.txt"]
    assert len(walk(tmp_path, hidden=True).files) == 3
    assert walk(tmp_path, deep=False).files == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    put(tmp_path, "data/x.txt")
    (tmp_path / "data").chmod(0)
    with pytest.raises(InputError, match="data: the folder cannot be read: Permission denied"):
        walk(tmp_path)
    (tmp_path / "data").chmod(0o755)


@pytest.mark.parametrize("pattern", ["", "/x", "../x", "a/../b", "a/**b", "**.txt"])
def test_what_is_no_glob(pattern: str) -> None:
    with pytest.raises(ValueError, match="not a glob"):
        glob(pattern)


names = st.sampled_from(["a", "b", "ab", "a.txt", "b.txt", "A.TXT", "[a]", "a b.csv"])
globs = st.sampled_from(["*", "a*", "*.txt", "[ab]", "[!a]*", "?", "a", "**", "*.[tT]*", "[[]a]"])


@given(st.lists(st.lists(names, min_size=1, max_size=4), max_size=8), st.lists(globs, min_size=1, max_size=4))
def test_globs_match_what_pathlib_matches(
    tmp_path_factory: pytest.TempPathFactory, paths: list[list[str]], parts: list[str]
) -> None:
    """Without links, and but for `**` at the end, which matches files since Python 3.13."""
    folder = tmp_path_factory.mktemp("globs")
    for path in paths:
        try:
            put(folder, "/".join(path))
        except OSError:  # a file where another path has a folder
            continue
    pattern = "/".join([*parts, "*"] if parts[-1] == "**" else parts)
    expected = {path.relative_to(folder).as_posix() for path in folder.glob(pattern) if path.is_file()}
    assert matching(folder, "/".join(parts)) == sorted(expected, key=lambda name: name.split("/"))


SEVERAL = [path for version in ("3.11", "3.12", "3.13") if (path := shutil.which(f"python{version}"))]
LIST = """
import sys; from pathlib import Path
from ehr_pipeline.store.file_listing import walk
folder = Path(sys.argv[1])
print(*(path.relative_to(folder) for path in walk(folder).matching(sys.argv[2:])), sep="\\n")
"""


@pytest.mark.parametrize("python", [sys.executable, *SEVERAL])
def test_each_python_lists_the_same(extract: Path, python: str) -> None:
    (extract / "data" / "loop").symlink_to("..")
    (extract / "a").symlink_to("data/train")
    patterns = ["data/**/*.parquet", "a/**"]
    environment = os.environ | {"PYTHONPATH": str(Path(module.__file__).parent.parent)}
    done = subprocess.run([python, "-c", LIST, extract, *patterns], env=environment, capture_output=True, text=True)
    if "No module named" in done.stderr or "not found" in done.stderr or "not installed" in done.stderr:
        pytest.skip(f"{python} has not what the package needs")
    assert done.stdout.split() == matching(extract, *patterns), done.stderr
    assert "data/held_out/deep/1.parquet" in done.stdout
