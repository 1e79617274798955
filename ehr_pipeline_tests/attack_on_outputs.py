"""An attacker who has all that a study shows: the page, a release, `summary.json`, what Dagster is given, and the log.

Every text that tells of a count is read as the integers that it is consistent with. What is shown of one count in several places
must fit together, and counts must add up (`deduce_counts`).
"""

import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import reduce
from html.parser import HTMLParser
from operator import getitem
from pathlib import Path
from typing import Any

from ehr_pipeline.cli import summary
from ehr_pipeline.defs.dagster_checks import shown
from ehr_pipeline.defs.metadata import published
from ehr_pipeline.reports.shown_counts import REPEATS, STAGES
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.runs.run_outcome import Row
from ehr_pipeline.store import integrity
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import STAGES as ASSETS
from ehr_pipeline.tables.drop_reasons import in_words
from ehr_pipeline_tests.deduce_counts import MOST, Attack, Excused, Secrets, Shown, integer, leaves, secrets, things_of

PREDICTIONS = "the prediction report"
CITED = re.compile(r"\b[A-Z][\w’'-]+,? (?:19|20)\d\d\b")
"""An author and a year, which are no count."""
OTHER = 37
"""By how much a count differs in a copy of the study (`with_another`)."""
NUMBER = r"about [\d,]+|[<>]?[\d,]+(?:–[\d,]+)?"
TESTED = re.compile(rf"\s+(?:{NUMBER}) tested$")  # below the size of a cluster: how many of its patients were tested


def meant(text: str, below: int) -> tuple[int, int] | None:
    """The fewest and the most that a text of the page is consistent with; None where it tells nothing."""
    text = text.strip()
    if match := re.fullmatch(r"about ([\d,]+)", text):
        return _around(integer(match[1]), below, below)
    if match := re.fullmatch(r"([<>]?)([\d,]+)(?:–([\d,]+))?", text):
        number = integer(match[2])
        if match[3]:
            return number, integer(match[3])
        return {"<": (1, number - 1), ">": (number + 1, MOST), "": (number, number)}[match[1]]
    return None


def _around(number: int, step: int, below: int) -> tuple[int, int]:
    if not number or step == 1:
        return number, number
    return max(number - step // 2, below), number - step // 2 + step - 1


def secrets_of(pipeline: Pipeline) -> Secrets:
    """The counts of a study of one extract, and how they add up."""
    extract = pipeline.store.partitions("raw_records")[0]
    manifests = {asset: _current(pipeline, asset, extract).counts for asset in ASSETS}
    clusters = schemas.read(pipeline.store.current("clusters").file("clusters.arrow")).column("cluster").to_pylist()
    things = [*things_of(manifests), *(int(number) for number in re.findall(r"\d+", repr(pipeline.study)))]
    return secrets(manifests, Counter(clusters), things)


def _current(pipeline: Pipeline, asset: str, extract: str) -> Any:
    return pipeline.store.current(asset, extract if asset == "raw_records" else None)


def _machine(place: str, name: str, value: Any, step: int, below: int) -> Shown:
    """A number for machines. One that is left out may be any."""
    low, high = (0, MOST) if value is None else _around(int(value), step, below)
    return Shown(place, (name,), repr(value), low, high)


def read(pipeline: Pipeline, released: Path | None = None, log: str = "") -> Attack:
    """Read all that a study shows; `released` is the folder of a release."""
    guard = pipeline.study.guard
    attack = Attack(secrets_of(pipeline), guard.below)
    extract, rows = pipeline.store.partitions("raw_records")[0], []
    known = attack.secrets.counts
    for asset in ASSETS:
        artifact = _current(pipeline, asset, extract)
        metadata = published(pipeline, artifact).metadata or {}
        for name, value in metadata.items():
            number = getattr(value, "value", value)
            if f"{asset}/{name}" in known:
                attack.shown.append(_machine("Dagster", f"{asset}/{name}", number, guard.step, guard.below))
            elif name == "dagster/row_count" and f"{asset}/kept" in known:
                attack.shown.append(_machine("Dagster", f"{asset}/kept", number, guard.step, guard.below))
            if isinstance(number, int | float | str) and len(str(number)) < 1000:
                attack.texts[f"Dagster, {asset}/{name}"] = str(number)
        for outcome in pipeline.check(asset, extract if asset == "raw_records" else None):
            attack.texts[f"check {asset}/{outcome.name}"] = f"{outcome.message} {shown(outcome.figures, guard)}"
        counts = artifact.counts
        lost = sum(counts["dropped"].values()) if "dropped" in counts else None
        of_stage = {"read": counts.get("rows_in"), "kept": counts.get("kept"), "merged": counts.get("collapsed")}
        rows.append(Row(asset, "", "made", **of_stage, rejected=lost, seconds=1.0, counts=counts))
    for row in rows:
        dropped = tuple(name for name in known if name.startswith(f"{row.asset}/dropped/"))
        for name, value in summary._suppressed(row, guard).items():
            counted = {"read": "rows_in", "kept": "kept", "merged": "collapsed"}
            of = dropped if name == "rejected" else (f"{row.asset}/{counted[name]}",)
            if value is not None and of and all(each in known for each in of):
                attack.shown.append(
                    Shown("summary.json", of, str(value), *_around(int(value), guard.step, guard.below))
                )
            attack.texts[f"summary.json, {row.asset}/{name}"] = str(value)
    if released:
        for place, value in leaves(json.loads((released / "counts.json").read_text(encoding="utf-8")), ""):
            if place in known:
                attack.shown.append(_machine("counts.json", place, value, guard.step, guard.below))
            attack.texts[f"counts.json, {place}"] = str(value)
    _read_page(attack, pipeline.store.current("cluster_reports").file("report.html").read_text(encoding="utf-8"))
    predictions = pipeline.store.current("prediction_report").file("prediction_report.html")
    if predictions.is_file():  # a study without tasks has none
        _read_predictions(attack, predictions.read_text(encoding="utf-8"))
    attack.made_of["the page"] = (*pipeline.names_read("cluster_reports"), "raw_records")
    attack.texts["log"] = log
    return attack


SAID = ("alt", "aria-label", "title", "placeholder")
"""Attributes that hold words; others hold places and names of elements (see `reports/test_map_svg.py` for places)."""


class Page(HTMLParser):
    """The tables of a page as rows of cells; its text, and its prose, which is the text without tables."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.text, self.prose, self._cell, self._hidden = "", "", False, 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a table, row or cell; take up what an element says without showing it."""
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th") and self.tables and self.tables[-1]:
            self.tables[-1][-1].append("")
            self._cell = True
        self._hidden += tag in ("script", "style")
        said = " ".join(value for name, value in attrs if value and (name in SAID or name.startswith("data-")))
        self.text, self.prose = f"{self.text} {said} ", f"{self.prose} "

    def handle_endtag(self, tag: str) -> None:
        """End a cell."""
        self._cell = self._cell and tag not in ("td", "th")
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        """Take up a text."""
        if not self._hidden:
            self.text += data
            if self._cell:
                self.tables[-1][-1][-1] += data
            else:
                self.prose += data


def _read_page(attack: Attack, html: str) -> None:
    page = Page()
    page.feed(html)
    text = CITED.sub("", " ".join(page.text.split()))
    attack.texts["the page"] = re.sub(r"All settings \{.*?\} \} Installed where|\b[0-9a-f]{16}\b", "", text)
    for table in page.tables:
        head = table[0] if table else []
        if head[:3] == ["Stage", "Read", "Kept"]:
            for row in table[1:]:
                _stage(attack, [" ".join(cell.split()) for cell in row])
        elif head[:1] == ["Cluster"] and len(head) > 5:
            for row in table[1:]:
                if len(row) > 2:  # the others say of several rows that they are one group
                    _add(attack, "list of clusters", (f"size/{row[0]}",), TESTED.sub("", row[2]))
        elif head[:1] == ["Disease"] and len(head) > 7:
            for row in table[1:]:
                for column, name in ((6, "events"), (7, "unmapped_events")):
                    _add(attack, "lists of codes", (f"cohort/lists/{row[0]}/{name}",), row[column])
        elif head and head[0].startswith("first"):
            _add(attack, "transitions", ("patient_trajectories/patients/kept",), table[-1][-1])
        elif head[:1] == ["Quantity"]:
            names = {
                "patients in the data set": "patient_dataset/patients/kept",
                "patients before short records were removed": "patient_dataset/patients/rows_in",
                "cohort patients": "cohort/kept",
                "validation patients": "data_split/validation",
                "patients removed for few visits": "patient_dataset/patients/dropped/few_visits",
                "rows of the raw table": "raw_records/rows_in",
            }
            for row in table[1:]:
                if row[0] in names:
                    _add(attack, "published beside this run", (names[row[0]],), row[2].partition(" (")[0])
    _sentences(attack, " ".join(page.prose.split()))


def _read_predictions(attack: Attack, html: str) -> None:
    """Take up the text of the prediction report, digit by digit."""
    page = Page()
    page.feed(html)
    attack.texts[PREDICTIONS] = CITED.sub("", " ".join(page.text.split()))


def _add(attack: Attack, place: str, counts: tuple[str, ...], text: str) -> None:
    ends = meant(text, attack.below)
    if ends and counts and all(name in attack.secrets.counts for name in counts):
        attack.shown.append(Shown(place, counts, text, *ends))


def _stage(attack: Attack, row: list[str]) -> None:
    """A row of the table of all stages."""
    asset, key = next((asset, key) for asset, key, words in STAGES if re.fullmatch(rf"{words}\s*{asset}", row[0]))
    stem = f"{asset}/{key}/" if key else f"{asset}/"
    for name, text in zip(("rows_in", "kept", "collapsed"), row[1:4], strict=True):
        _add(attack, "table of stages", (stem + name,), text)
    reasons = {in_words(name.rsplit("/", 1)[1], key == "patients" or asset in ("cohort", "patient_embeddings")): name
               for name in attack.secrets.counts if name.startswith(f"{stem}dropped/")} | {REPEATS: f"{stem}collapsed"}  # fmt: skip
    for lost in row[4].split(" · "):
        if match := re.fullmatch(rf"(.*?) ({NUMBER}|–)", lost.strip()):
            counts = _joined(match[1], reasons)
            _add(attack, "table of stages", counts, match[2])


def _joined(words: str, reasons: Mapping[str, str]) -> tuple[str, ...]:
    """The counts that stand for words which 'or' may join; reasons may hold 'or' themselves."""
    if words in reasons:
        return (reasons[words],)
    for reason, name in reasons.items():
        if words.startswith(f"{reason} or ") and (rest := _joined(words[len(reason) + 4 :], reasons)):
            return (name, *rest)
    return ()


def _sentences(attack: Attack, text: str) -> None:
    """What diagrams and sentences tell."""
    patients = {
        "rows of patients read": "raw_records/patients/rows_in",
        "patients with events": "patient_dataset/patients/rows_in",
        "patients in the data set,": "patient_dataset/patients/kept",
        "patients in the cohort": "cohort/kept",
        "patients in clusters": "clusters/kept",
        "rows of events read": "raw_records/rows_in",
        "usable events": "raw_records/kept",
        "events mapped to concepts": "mapped_events/kept",
        "events in the vocabulary": "vocabulary/events/kept",
        "events in the data set": "patient_dataset/kept",
        "without an event in the vocabulary": "patient_dataset/patients_without_events",
        "with too few visits": "patient_dataset/patients/dropped/few_visits",
        "with none of the diseases": "none_of_the_diseases",
        "without a chosen concept": "patient_embeddings/dropped/no_chosen_concept",
        "repeated within a visit": "patient_dataset/collapsed",
    }
    for words, name in patients.items():
        for match in re.finditer(rf"(?<!\S)({NUMBER}) {re.escape(words)}(?! or )", text):
            _add(attack, "diagram or sentence", (name,), match[1])
    if match := re.search(
        rf"all patients who have a code of the diseases \(({NUMBER})\); ({NUMBER}) of them are not", text
    ):
        _add(attack, "sentence on the cohort", ("cohort/rows_in",), match[1])
        _add(attack, "sentence on the cohort", ("cohort/dropped/not_in_patient_dataset",), match[2])
    if match := re.search(r"Cohort by disease: (.*?)\. Patients of the cohort", text):
        for part in match[1].split(" · "):
            if disease := re.fullmatch(rf"(.*?) ({NUMBER})", part):
                _add(attack, "cohort by disease", (f"cohort/by_disease/{disease[1]}",), disease[2])
    windows = "patient_trajectories/patients/"
    if match := re.search(rf"({NUMBER}) patients have two windows or more", text, re.IGNORECASE):
        _add(attack, "change over time", (f"{windows}kept",), match[1].lower())
    if match := re.search(rf"patients with fewer than two windows \(({NUMBER})\)", text):
        _add(attack, "change over time", (f"{windows}dropped/fewer_than_two_windows",), match[1])


def stays(pipeline: Pipeline, attack: Attack, bound: Excused, folder: Path) -> bool:
    """Whether a bound is shown as often when the count that has its digits is another. If it is not, it may be made from the count.

    The study is copied to `folder` with that count changed, and its page is written anew. Where that cannot be done (a size that
    no manifest holds, a log, a release), the answer is no.
    """
    if bound.name.partition("/")[0] not in ASSETS:
        return False
    return shown_times(read(with_another(pipeline, bound.name, folder)), bound) == shown_times(attack, bound)


def shown_times(attack: Attack, bound: Excused) -> int:
    """How often a bound is shown at its place."""
    return len(re.findall(rf"{re.escape(bound.text)}(?![\d,])", attack.texts.get(bound.place, "")))


def with_another(pipeline: Pipeline, name: str, folder: Path) -> Pipeline:
    """A copy of a study in which one count of a manifest is larger by `OTHER`, with a page of its own."""
    shutil.copytree(pipeline.store.root, folder, symlinks=True)
    study = pipeline.study
    second = Pipeline(replace(study, study=replace(study.study, store=str(folder))))
    asset, *path, last = name.split("/")
    file = _current(second, asset, second.store.partitions("raw_records")[0]).file(integrity.MANIFEST)
    manifest = json.loads(file.read_text(encoding="utf-8"))
    del manifest[integrity.CHECKSUM]
    reduce(getitem, path, manifest["counts"])[last] += OTHER
    file.write_text(json.dumps(integrity.sealed(manifest)), encoding="utf-8")
    shutil.rmtree(second.store.folder("cluster_reports"))
    second.cluster_reports()
    return second


def cells(pipeline: Pipeline) -> Iterator[str]:
    """Rows of the clusters' tables of which number and share together leave too few counts of a patient."""
    page, below = Page(), pipeline.study.guard.below
    page.feed(pipeline.store.current("cluster_reports").file("report.html").read_text(encoding="utf-8"))
    size = 0
    for table in page.tables:
        for row in table:
            if row and row[0] == "Who" and (match := re.match(r"([\d,]+) patients", row[1].strip())):
                size = integer(match[1])
            if len(row) == 9 and table[1][:2] == ["Concept", "Ratio"] and (ends := meant(row[4], below)):
                low, high = max(ends[0], 0), min(ends[1], size)
                left = [n for n in range(low, high + 1) if _fits(n, size, row[5].strip())]
                few = [n for n in left if 0 < n < below or 0 < size - n < below]
                if few and len(left) < min(below - 1, size):
                    yield f"{row[0]}: {row[4]} and {row[5]} of {size} leave {left}"


def _fits(count: int, of: int, share: str) -> bool:
    """Whether a count fits a share as the page tells it."""
    value = 100 * count / of if of else 0.0
    if match := re.fullmatch(r"([<>])(\d+) %", share):
        return value <= int(match[2]) if match[1] == "<" else value >= int(match[2])
    if match := re.fullmatch(r"(?:about )?(\d+(?:\.\d)?)(?:–(\d+))? %", share):
        if match[2]:
            return math.floor(value) <= int(match[2]) and math.ceil(value) >= int(match[1])
        return abs(value - float(match[1])) <= (0.05 if "." in match[1] else 0.5) + 1e-9
    return True
