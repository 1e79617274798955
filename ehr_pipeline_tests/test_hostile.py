"""Names, paths and texts that somebody chose to do harm with: refused in words, or made harmless."""

import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline import cli, errors
from ehr_pipeline.cli.common import Printable
from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.drawing import plots
from ehr_pipeline.errors import InputError, MissingArtifact, UserError, invisible_character, printable, undirected
from ehr_pipeline.planning import preflight
from ehr_pipeline.records import build
from ehr_pipeline.records.landing_folder import check_folders
from ehr_pipeline.records.operation_settings import OperationSettings
from ehr_pipeline.reports import layout
from ehr_pipeline.runs import extracts
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Recipe, Store
from ehr_pipeline.study import settings
from ehr_pipeline.vocabulary import table as vocabulary
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Concept, Vocabulary
from ehr_pipeline_tests.conftest import records_settings, tiny_settings
from ehr_pipeline_tests.study.test_settings import changed, problems_of

Landing = Callable[..., Path]

NOT_NAMES = (
    "..",
    ".",
    "",
    ".hidden",
    "../other",
    "/etc",
    "a/b",
    "2020...2021",
    "a\nb",
    "a\x1b[2J",
    "a\0b",
    "a\u202eb",
    "\udcff",
)
IN_A_FOLDER = ("2020...2021", "a\nb", "a\x1b[2J", "a\u202eb", "\udcff")
ODD_NAMES = ("2020-01-01", "Extract of May (v2), [final]", "2020-01-01 é", "-rf", "a..b", "$(reboot)", "'; DROP TABLE")
BELL, UP = "a\x07b", "\x1b[1A"


@pytest.mark.parametrize("name", NOT_NAMES, ids=ascii)
def test_no_partition_lies_outside_the_store(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / "store")
    neighbour = tmp_path / "other"
    neighbour.mkdir()
    (neighbour / "kept").touch()
    recipe = Recipe("raw_records", "1", {}, {}, partition=name)
    for act in (
        lambda: store.make(recipe, lambda out: {}),
        lambda: store.current("raw_records", name),
        lambda: store.has("raw_records", name),
        lambda: store.retire("raw_records", name),
    ):
        with pytest.raises(UserError, match="cannot be a partition of raw_records"):
            act()
    assert [path.name for path in tmp_path.rglob("*")] == ["other", "kept"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_only_names(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path)
    store.make(Recipe("raw_records", "1", {}, {}, partition=name), lambda out: {})
    assert store.partitions("raw_records") == [name]
    assert store.current("raw_records", name).path.parent == tmp_path / "records" / "raw_records" / name
    store.retire("raw_records", name)
    assert store.partitions("raw_records") == []


def test_a_link_in_place_of_a_partition_is_not_followed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "current").write_text("0" * 16)
    folder = store.folder("raw_records")
    folder.mkdir(parents=True)
    (folder / "2020-01-01").symlink_to(elsewhere)
    for act in (
        lambda: store.make(Recipe("raw_records", "1", {}, {}, partition="2020-01-01"), lambda out: {}),
        lambda: store.current("raw_records", "2020-01-01"),
        lambda: store.retire("raw_records", "2020-01-01"),
    ):
        with pytest.raises(UserError, match="is a link"):
            act()
    assert [path.name for path in elsewhere.iterdir()] == ["current"]


@pytest.mark.parametrize("pointer", ["../../../../elsewhere", "/elsewhere", "..", "", "0" * 16 + "/../.."])
def test_the_pointer_to_the_current_artifact_leads_nowhere_else(tmp_path: Path, pointer: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "manifest.json").write_text("{}")
    store = Store(tmp_path / "store")
    store.make(Recipe("vocabulary", "1", {}, {}), lambda out: {})
    (store.folder("vocabulary") / "current").write_text(pointer)
    with pytest.raises(UserError, match="current: the file is not what was published"):
        store.current("vocabulary")


@pytest.mark.parametrize("name", IN_A_FOLDER, ids=ascii)
def test_a_folder_that_cannot_be_an_extract_is_told_and_holds_up_no_other(
    extract: Path, tmp_path: Path, name: str
) -> None:
    landing = tmp_path / "landing"
    for own in ("2019-04-01", name):
        (landing / own).mkdir(parents=True)
        (landing / own / "events.txt").touch()
    found = {
        one.extract: one.waits_for
        for one in check_folders(landing, OperationSettings(quiet_minutes=0), time.time() + 60)
    }
    assert found["2019-04-01"] == ""
    assert "it must be renamed first, since its name holds" in found[name]
    study = tiny_settings(extract, study={"store": str(tmp_path / "store")}, records={"landing": str(landing)})
    with pytest.raises(InputError, match="cannot be an extract, since its name holds") as error:
        extracts.names(Store(study.study.store), study)
    problems = preflight.inspect(study).problems
    assert any("cannot be an extract" in problem for problem in problems)
    for told in (str(error.value), *problems):
        told.encode()  # can be written down
        assert not invisible_character(told.replace("\n", "")), "and read"


def test_a_landing_folder_that_is_not_there_is_told_from_an_empty_one(extract: Path, tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    study = tiny_settings(extract, study={"store": str(tmp_path / "store")}, records={"landing": str(landing)})
    for told in ("there is no such folder", "no extract"):
        with pytest.raises(MissingArtifact, match=f"records.landing.: {told}"):
            extracts.names(Store(study.study.store), study)
        landing.mkdir(exist_ok=True)


def test_an_extract_that_dagster_was_given_by_hand_is_looked_for_nowhere_else(extract: Path, tmp_path: Path) -> None:
    study = tiny_settings(extract, study={"store": str(tmp_path / "store")})
    for name in ("../terminology", "..", "../landing/2019-04-01"):
        with pytest.raises(UserError, match="cannot be a partition of raw_records"):
            Pipeline(study).raw_records(name)
    assert not (tmp_path / "store").exists()


def test_links_that_go_round_in_circles_are_looked_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "landing" / "2020-01-01"
    for name in "abcdefgh":
        (folder / name).mkdir(parents=True)
        (folder / name / "events.txt").touch()
    for name in "abcdefgh":  # followed at every turn, these were 8! paths and more
        for other in "abcdefgh":
            (folder / name / f"to_{other}").symlink_to(folder / other)
        (folder / name / "up").symlink_to(tmp_path)
    settings = OperationSettings(quiet_minutes=0)
    (before,) = check_folders(tmp_path / "landing", settings, time.time() + 60)
    assert before.waits_for == ""
    os.utime(folder / "h" / "events.txt", ns=(1, 1))
    (after,) = check_folders(tmp_path / "landing", settings, time.time() + 60)
    assert after.state != before.state, "every file counts all the same"


@pytest.mark.parametrize("name", ["events\x1b[2J.txt", "events\n.txt", os.fsdecode(b"events\xff.txt")], ids=ascii)
def test_a_file_whose_name_cannot_be_told_is_refused(landing: Landing, tmp_path: Path, name: str) -> None:
    folder = landing("id\tdate\tcode\n1\t05/03/2001\t9014002\n")
    shutil.copyfile(folder / "events.txt", folder / name)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"the name of the file 'events.*Rename it") as error:
        build.build(folder, records_settings(folder.parent), tmp_path / "out")
    assert not invisible_character(str(error.value))


@pytest.mark.parametrize("files", ["../*", "*/../../x", "a.txt|../b.txt", "/etc/*"])
def test_files_of_an_extract_lie_in_it(files: str) -> None:
    kinds: list[dict[str, Any]] = [{"files": files, "columns": {"patient": "p", "date": "d", "code": "c"}}]
    assert "must be a glob relative to the folder of the extract" in problems_of(changed(records={"events": kinds}))


@pytest.mark.parametrize(
    ("landing", "store", "told"),
    [
        ("data", "data", "study.store lies in records.landing"),
        ("data", "data/store", "study.store lies in records.landing"),
        ("data/../x", "x/deep/store", "study.store lies in records.landing"),
        ("store/landing", "store", "records.landing lies in study.store"),
    ],
)
def test_landing_folder_and_store_lie_apart(landing: str, store: str, told: str) -> None:
    assert told in problems_of(changed(study={"store": store}, records={"landing": landing}))
    settings.validate(changed(study={"store": "data/store"}, records={"landing": "data/landing"}))


@pytest.mark.parametrize(
    "values",
    [
        changed(study={"name": BELL}),
        changed(study={"store": "a\0b"}),
        changed(operation={"webhook": f"https://x/{UP}"}),
        changed(launcher={"slurm": {"bucket_options": ["--mem=1G\n#SBATCH --wrap=x"]}}),
        changed(governance={"licence": "\u202egnitirw"}),
        changed(records={"patients": [{"files": "p", "columns": {"patient": "p"}, "attributes": {f"r{UP}": "x"}}]}),
    ],
    ids=["bell", "nul", "escape", "newline", "direction", "key"],
)
def test_settings_hold_nothing_that_is_not_to_be_seen(values: dict[str, Any]) -> None:
    told = problems_of(values)
    assert " contains \\" in told
    assert not invisible_character(told.replace("\n", ""))


def test_a_delimiter_may_be_what_is_not_to_be_seen() -> None:
    files = {"files": "e*", "delimiter": "\x1f", "columns": {"patient": "p", "date": "d", "code": "c"}}
    study = settings.validate(changed(records={"events": [files]}))
    assert study.records.events[0].delimiter == "\x1f"
    assert settings.with_overrides(study, {"clusters": {"n": 5}}).clusters.n == 5


def test_a_terminal_sees_no_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--settings", str(tmp_path / f"x{UP}{BELL}.toml")]) == cli.USER_ERROR
    told = capsys.readouterr().err
    assert "x\\x1b[1Aa\\x07b.toml" in told
    assert not invisible_character(told.replace("\n", ""))
    assert printable("two\nlines\té") == "two\nlines\\té"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("=cmd|'/c calc'!A1", "'=cmd|'/c calc'!A1"),
        ("+1+1", "'+1+1"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1+1", "  '=1+1"),
        ("'=1+1", "''=1+1"),
        ("\t=1+1", "\\u{9}=1+1"),
        ("\r\n=1+1", "\\u{d}\\u{a}=1+1"),
        ("\u202egnp.exe", "\\u{202e}gnp.exe"),
        ("\u061c\u200e\u200f\u2066=1", "\\u{61c}\\u{200e}\\u{200f}\\u{2066}=1"),
        ("\x1b[2J", "\\u{1b}[2J"),
        (r"\u{202e}", r"\\u{202e}"),
        (r"C:\users", r"C:\users"),
        ("-3.2", "-3.2"),
        ("+4.5e-03", "+4.5e-03"),
        ("-3,2", "-3,2"),
        ("-3.2+cmd", "'-3.2+cmd"),
        ("O'Brien", "O'Brien"),
        ("asthma;=1+1", "asthma;'=1+1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("Type 2 diabetes - controlled; diet = none", "Type 2 diabetes - controlled; diet = none"),
        ("Vitamin B12, 5-10 µg (a+b)", "Vitamin B12, 5-10 µg (a+b)"),
        ("", ""),
    ],
)
def test_a_text_is_no_formula(name: str, told: str) -> None:
    assert spreadsheet.text(name) == told
    assert spreadsheet.plain(told) == name
    assert spreadsheet.table(pl.DataFrame({"name": [name, None], "n": [-1, 2]})).rows() == [(told, -1), (None, 2)]


AWKWARD = st.text(st.sampled_from("=+-@'; \\u{}2e09.,\t\n\u202e\u200f\u061c\x1b\uff1d\xa0a"), max_size=12)
HARMFUL = re.compile(r"(^|;)\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")


@given(st.lists(st.one_of(AWKWARD, st.text(st.characters(exclude_categories=["Cs"])), AWKWARD), min_size=1, max_size=5))
def test_cells_are_harmless_and_read_back_as_they_were(names: list[str]) -> None:
    assert [spreadsheet.plain(spreadsheet.text(name)) for name in names] == names
    told = spreadsheet.table(pl.DataFrame({"name": names}))
    assert told["name"].to_list() == [spreadsheet.text(name) for name in names], "columns and cells are alike"
    assert spreadsheet.plain_table(told)["name"].to_list() == names
    for cell in told["name"]:
        assert not invisible_character(cell)
        assert undirected(cell) == cell
        assert not HARMFUL.search(cell) or re.fullmatch("[-+][0-9.,]+([eE][-+]?[0-9]+)?", cell)


def test_one_character_after_another_reads_back() -> None:
    for code in (*range(0x3100), *range(0xD700, 0xE000), 0xFEFF, 0xFF1D, 0x10FFFF):
        for name in (chr(code), f"\\{chr(code)}={chr(code)}"):
            assert spreadsheet.plain(spreadsheet.text(name)) == name


OTHERS_TABLES = {
    "clusters/planted.py",  # of synthetic extracts
    "events/names.py",  # the user's own names of codes
    "encoder/objectives/masked.py",  # an example, for people without this package
    "encoder/objectives/next_visit.py",  # the same
    "records/text.py",
    "relations/pair_files.py",  # the user's own pairs
    "tasks/prediction_times.py",  # the user's own index dates
    "terminology/rrf.py",
    "trajectories/truth.py",  # of synthetic extracts
    "vocabulary/table.py",  # undoes the cells of its names by itself: `spreadsheet.plain`
}
"""What they read was not written by a stage that makes names harmless, or they undo that by themselves."""


def test_every_table_is_written_and_read_as_cells() -> None:
    """But for synthetic extracts, whose tables hold words of this package, and those that are read as they were handed over."""
    package = Path(errors.__file__).parent
    sources = {path.relative_to(package).as_posix(): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    sources = {name: text for name, text in sources.items() if not name.startswith(("synthetic/", "disclosure/"))}
    writers = {name for name, text in sources.items() if re.search(r"csv\.writer\(|DictWriter\(|write_csv\(", text)}
    assert {name for name in writers if not re.search(r"spreadsheet\.(text|table)\b", sources[name])} == set()
    readers = {name for name, text in sources.items() if re.search(r"csv\.DictReader\(|read_csv\(", text)}
    assert {name for name in readers if "spreadsheet.plain_table(" not in sources[name]} == OTHERS_TABLES


def test_names_of_a_vocabulary_come_back_from_harmless_cells(tmp_path: Path) -> None:
    names = ("=cmd|'/c calc'!A1", "'=1", "\u202egnp\r\nx", r"\u{41}", "-3.2", "Asthma")
    concepts = tuple(Concept(FIRST_CONCEPT + at, name, f"@{name}", ("T047",), 0, 0) for at, name in enumerate(names))
    known = Vocabulary(concepts, vocabulary.hash_of(list(names)))
    known.write(tmp_path)
    text = (tmp_path / "vocabulary.csv").read_text(encoding="utf-8")
    assert "=cmd|'/c calc'!A1,'@=cmd" in text
    assert not invisible_character(text.replace("\n", ""))
    assert not re.search("(^|,)[=@]", text, re.MULTILINE)
    assert [(one.concept, one.name) for one in Vocabulary.read(tmp_path).concepts] == [(n, f"@{n}") for n in names]


def test_lines_of_the_log_show_no_marks(capsys: pytest.CaptureFixture[str]) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, f"read %s{UP}", ("a\u202eb\u200f",), None)
    assert Printable("%(message)s").format(record) == r"read a\u202eb\u200f\x1b[1A"


def test_a_page_spells_marks_of_direction() -> None:
    assert layout.escape_direction("a\u202eb\u200f\tc") == "a\\u202eb\\u200f\tc"
    markup = jinja2.utils.markupsafe.Markup("<b>\u200f</b>")
    assert layout.escape_direction(markup) is markup
    assert layout.escape_direction(3) == 3


def test_names_are_no_formulas_of_a_picture(tmp_path: Path) -> None:
    with plots.figure(tmp_path / "picture.png", 9, 4) as figure:
        axes = figure.add_subplot()
        axes.text(0, 0, r"$\frac{$ costs $5 or $\input{/etc/passwd}$")
        axes.set_title("$_^$ 皮膚炎")
    assert (tmp_path / "picture.png").stat().st_size
