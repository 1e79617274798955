"""A whole run over an extract, terminology and settings that are full of markup, formulas and escapes, with the network cut off."""

import base64
import contextlib
import csv
import html.parser
import io
import re
import shutil
import socket
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from ehr_pipeline import cli
from ehr_pipeline.defs.metadata import LARGEST_PICTURE
from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.errors import invisible_character
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline_tests.conftest import ROOT, write_settings

pytestmark = pytest.mark.slow

FORMULA = "=cmd!A1 <script>alert(1)</script>"
CONCEPTS = (
    FORMULA,
    '"><img src=x onerror=alert(2)> $\\frac{',
    "@SUM(1) ![x](javascript:alert(3))",
    "+1 </title>\x1b[2J;=2",
    "_ ${7*7} {{7*7}}",
)
REGION = "<script>alert(4)</script> $\\sqrt{"
STUDY = "</title><script>alert(5)</script>"
LICENCE = "<img src=x onerror=alert(6)>"
FOLDER = "2019 <b onclick=alert(7)> $(reboot) [v1]"


class Seen(html.parser.HTMLParser):
    """The tags of a page, its handlers of events, its addresses, and its text."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.handlers: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "action")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@dataclass
class Run:
    """What a run left behind."""

    settings: Path
    store: Store
    page: str
    released: Path
    printed: str
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def hostile(extract: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        return run(extract, tmp_path_factory.mktemp("hostile"), patch)


def run(extract: Path, folder: Path, patch: pytest.MonkeyPatch) -> Run:
    study, home = folder / "study", folder / "home"
    for part in ("landing", "terminology", "truth"):
        shutil.copytree(extract / part, study / part)
    rename_concepts(study / "terminology" / "MRCONSO.RRF")
    patients = study / "landing" / EXTRACT / "patients.txt"
    region = pl.read_csv(patients, separator="\t", encoding="latin-1", infer_schema=False)["region"][0]
    patients.write_text(patients.read_text("latin-1").replace(f"\t{region}\t", f"\t{REGION}\t"), "latin-1")
    (study / "landing" / EXTRACT).rename(study / "landing" / FOLDER)

    home.mkdir()
    shutil.copyfile(ROOT / "dagster.yaml", home / "dagster.yaml")
    patch.setenv("DAGSTER_HOME", str(home))
    patch.setenv("EHR_STATE_DIR", str(home / "state"))
    patch.setenv(settings.ENVIRONMENT_VARIABLE, "unset")
    cut_off(patch)
    own: dict[str, Any] = {"study": {"name": STUDY}, "governance": {"licence": LICENCE}, "reports": {"title": STUDY}}
    own |= {"records": {"latest_date": EXTRACT}}
    path = write_settings(folder / "settings.toml", study, folder / "store", **own)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        assert cli.main(["run", "--settings", str(path)]) == 0, printed.getvalue()[-3000:]
        assert cli.main(["release", "--settings", str(path), "--out", str(folder / "released")]) == 0
    store = Store(folder / "store")
    page = store.current("cluster_reports").file("report.html").read_text(encoding="utf-8")
    made = Run(path, store, page, folder / "released", printed.getvalue())
    with dg.DagsterInstance.get() as instance:
        for asset in (
            "raw_records",
            "mapped_events",
            "vocabulary",
            "patient_dataset",
            "encoder_checkpoint",
            "cluster_reports",
        ):
            event = instance.get_latest_materialization_event(dg.AssetKey(asset))
            assert event is not None
            assert event.asset_materialization is not None
            made.metadata[asset] = dict(event.asset_materialization.metadata)
    return made


def rename_concepts(path: Path) -> None:
    """Give every concept of MRCONSO a hostile name, in turn."""
    lines = [line.split("|") for line in path.read_text(encoding="utf-8").splitlines()]
    turn = {
        cui: CONCEPTS[number % len(CONCEPTS)] for number, cui in enumerate(dict.fromkeys(line[0] for line in lines))
    }
    for line in lines:
        line[14] = f"{turn[line[0]]} {line[0]}"
    path.write_text("\n".join("|".join(line) for line in lines) + "\n", encoding="utf-8")


def cut_off(patch: pytest.MonkeyPatch) -> None:
    """Let this process speak to itself alone."""

    def connect(self: socket.socket, address: Any) -> None:
        raise AssertionError(f"something asked for {address}")

    patch.setattr(socket.socket, "connect", connect)
    patch.setattr(socket, "getaddrinfo", connect)


def test_the_page_shows_it_as_text(hostile: Run, tiny: Pipeline) -> None:
    clean = Seen(tiny.store.current("cluster_reports").file("report.html").read_text(encoding="utf-8"))
    seen = Seen(hostile.page)
    assert seen.tags["script"] == clean.tags["script"]
    assert seen.tags.keys() == clean.tags.keys()
    assert set(seen.handlers) == set(clean.handlers)
    assert not [address for address in seen.addresses if not address.startswith(("#", "data:image/png;base64,"))]
    words = "".join(seen.words)
    for text in ("<script>alert(1)</script>", "<img src=x onerror=alert(2)>", STUDY, LICENCE, "{{7*7}}"):
        assert text in words, "it was there"


def test_no_released_cell_is_a_formula(hostile: Run) -> None:
    cells = []
    for path in hostile.released.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as stream:
            cells += [cell for row in csv.reader(stream) for cell in row]
    assert not [cell for cell in cells if re.match(r"\s*[=+\-@]", cell) or invisible_character(cell) or ";=" in cell]
    assert any(cell.startswith(f"'{FORMULA}") for cell in cells)
    with hostile.store.current("vocabulary").file("vocabulary.csv").open(encoding="utf-8", newline="") as stream:
        assert any(spreadsheet.plain(row["name"]).startswith(FORMULA) for row in csv.DictReader(stream)), (
            "stages hand on what they read"
        )


def test_markdown_in_the_ui_is_pictures_and_nothing_else(hostile: Run) -> None:
    shown = {
        f"{asset}: {name}": value.md_str
        for asset, found in hostile.metadata.items()
        for name, value in found.items()
        if isinstance(value, dg.MarkdownMetadataValue)
    }
    assert {
        "mapped_events: code coverage",
        "vocabulary: vocabulary curve",
        "patient_dataset: follow-up",
        "encoder_checkpoint: learning curves",
        "cluster_reports: map of clusters",
    } <= set(shown)
    for name, text in shown.items():
        picture = re.fullmatch(r"!\[\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", text)
        assert picture, name
        content = base64.b64decode(picture[1])
        assert content.startswith(b"\x89PNG")
        assert len(content) <= LARGEST_PICTURE


def test_nothing_that_is_printed_rewrites_the_terminal(hostile: Run) -> None:
    assert FOLDER in hostile.printed
    assert not invisible_character(hostile.printed.replace("\n", "").replace("\r", ""))
