"""An attacker who has all that a study shows: the page, a release, `summary.json`, what Dagster is given, and the log.

Every text that tells of a count is read as the integers that it is consistent with. What is shown of one count in several places
must fit together, and counts must add up: what came in is kept, collapsed or dropped; what one stage keeps the next takes in; parts
sum to wholes. The attacker narrows all counts by all of this at once, until nothing changes, and so by all pairs. Found is

- a count from 1 to the threshold - 1 of which fewer values are left than these,
- a hidden count of which one value is left, though it does not follow from what is shown exactly,
- a number somewhere in a text that is a hidden count, digit by digit.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

from ehr_pipeline.chain.pipeline import Pipeline
from ehr_pipeline.cli import summary
from ehr_pipeline.defs.checks import _shown
from ehr_pipeline.defs.metadata import guard_of, published
from ehr_pipeline.defs.run import Row
from ehr_pipeline.disclosure.kinds import Score, Share, Things, figures
from ehr_pipeline.reports.counted import REPEATS, STAGES
from ehr_pipeline.store.declared import declared
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import STAGES as ASSETS
from ehr_pipeline.tables.drop_reasons import in_words

MOST = 10**12
NUMBER = r"about [\d,]+|[<>]?[\d,]+(?:–[\d,]+)?"
VERBATIM = 100
"""Hidden counts from here on are looked for digit by digit: smaller ones stand in any text by chance."""


@dataclass(frozen=True)
class Shown:
    """A text that tells of a count, or of the sum of several."""

    place: str
    counts: tuple[str, ...]
    text: str
    low: int
    high: int


@dataclass(frozen=True)
class Secrets:
    """What is to be had: the counts of a study by their place in the manifests, and how they add up."""

    counts: Mapping[str, int]
    sums: list[tuple[str, tuple[str, ...]]]
    """A count, and those that it is the sum of."""
    things: frozenset[int]
    """Numbers that tell of nobody."""


@dataclass
class Attack:
    """What was read, and what is known of each count."""

    secrets: Secrets
    below: int
    shown: list[Shown] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    """All that is shown, by its place, for what is looked for digit by digit."""

    @property
    def pairs(self) -> int:
        """How many pairs of texts tell of the same count, or of counts that add up."""
        of: dict[str, int] = {}
        for one in self.shown:
            for name in one.counts:
                of[name] = of.get(name, 0) + 1
        same = sum(number * (number - 1) // 2 for number in of.values())
        added = [[of.get(name, 0) for name in (whole, *parts)] for whole, parts in self.secrets.sums]
        return same + sum((sum(each) ** 2 - sum(n * n for n in each)) // 2 for each in added)

    def known(self, exact: bool = False) -> dict[str, tuple[int, int]]:
        """The fewest and the most that each count can be; by what is shown `exact`ly alone, or by all."""
        ends = dict.fromkeys(self.secrets.counts, (0, MOST))
        equations = [(one.counts, one.low, one.high) for one in self.shown if not exact or one.low == one.high]
        for names, low, high in equations:
            if len(names) == 1:
                ends[names[0]] = max(ends[names[0]][0], low), min(ends[names[0]][1], high)
        for _ in range(100):
            before = dict(ends)
            for names, low, high in equations:
                _narrow(ends, names, low, high)
            for whole, parts in self.secrets.sums:
                low, high = (sum(ends[name][side] for name in parts) for side in (0, 1))
                ends[whole] = max(ends[whole][0], low), min(ends[whole][1], high)
                _narrow(ends, parts, *ends[whole])
            if ends == before:
                break
        return ends

    def found(self) -> list[str]:
        """What follows and should not, in words."""
        for one in self.shown:
            count = sum(self.secrets.counts[name] for name in one.counts)
            assert one.low <= count <= one.high, (
                f"misread: {one.text} in {one.place} of {one.counts}, which are {count}"
            )
        ends, public = self.known(), self.known(exact=True)
        problems, hidden = [], {}
        for name, count in self.secrets.counts.items():
            low, high = ends[name]
            assert low <= count <= high, f"{name} is {count}, but was read as {low} to {high}"
            if 0 < count < self.below:
                if low > 1 or high < self.below - 1:
                    problems.append(f"{name}, which is {count}, lies from {low} to {high}")
            elif count and public[name][0] != public[name][1]:
                hidden.setdefault(count, name)
                if low == high:
                    problems.append(f"{name} is {count} and nothing else")
        open_to_all = {count for name, count in self.secrets.counts.items() if public[name][0] == public[name][1]}
        for place, text in self.texts.items():
            for number in map(_integer, re.findall(r"(?<![\w.,:–-])\d[\d,]*(?![\w:–-])(?!\.\d)", text)):
                rounded = number < VERBATIM or not number % self.below
                if number in hidden and not rounded and number not in self.secrets.things | open_to_all:
                    problems.append(f"{hidden[number]}: {number} stands in {place}")
        return problems


def _narrow(ends: dict[str, tuple[int, int]], names: tuple[str, ...], low: int, high: int) -> None:
    """What a sum from `low` to `high` tells of each of its parts."""
    least, most = (sum(ends[name][side] for name in names) for side in (0, 1))
    for name in names:
        fewest, largest = ends[name]
        ends[name] = (
            max(fewest, low - (most - largest)),
            min(largest, high - (least - fewest)),
        )


def _integer(text: str) -> int:
    return int(text.replace(",", "") or 0)


def meant(text: str, below: int) -> tuple[int, int] | None:
    """The fewest and the most that a text of the page is consistent with; None where it tells nothing."""
    text = text.strip()
    if match := re.fullmatch(r"about ([\d,]+)", text):
        return _around(_integer(match[1]), below, below)
    if match := re.fullmatch(r"([<>]?)([\d,]+)(?:–([\d,]+))?", text):
        number = _integer(match[2])
        if match[3]:
            return number, _integer(match[3])
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
    things = [*_things(manifests), *(int(number) for number in re.findall(r"\d+", repr(pipeline.study)))]
    return secrets(manifests, Counter(clusters), things)


def secrets(manifests: Mapping[str, Any], sizes: Mapping[int, int], things: Iterable[int] = ()) -> Secrets:
    """The counts of manifests by asset and the sizes of clusters by number, and how they add up."""
    counts = {place: number for asset, found in manifests.items() for place, number in _numbers(found, asset)}
    counts |= {f"size/{number}": size for number, size in sizes.items()}
    dataset, cohort = "patient_dataset/patients/kept", "cohort/kept"
    counts["none_of_the_diseases"] = counts[dataset] - counts[cohort]
    chains = (
        ("raw_records/kept", "extract_catalog/kept", "mapped_events/rows_in"),
        ("mapped_events/kept", "vocabulary/events/rows_in", "patient_dataset/rows_in"),
        ("patient_dataset/kept", "encoder_checkpoint/rows_in"),
        (dataset, "data_split/rows_in", "data_split/kept"),
        (cohort, "patient_embeddings/rows_in"),
        ("patient_embeddings/kept", "clusters/rows_in", "clusters/kept", "cluster_reports/rows_in"),
        ("clusters/kept", "patient_trajectories/patients/rows_in"),
    )
    sums = [
        *_conserved(counts),
        (dataset, (cohort, "none_of_the_diseases")),
        ("data_split/kept", ("data_split/train", "data_split/validation")),
        ("clusters/kept", tuple(name for name in counts if name.startswith("size/"))),
        (cohort, tuple(name for name in counts if name.startswith("cohort/by_disease/"))),
        (
            "raw_records/patients/kept",
            ("patient_dataset/patients/rows_in", "patient_dataset/patients_without_events"),
        ),
        (
            "patient_dataset/dropped/not_in_vocabulary",
            tuple(name for name in counts if name.startswith("vocabulary/events/dropped/")),
        ),
        *((one, (other,)) for chain in chains for one, other in pairwise(chain)),
    ]
    there = [(whole, parts) for whole, parts in sums if {whole, *parts} <= counts.keys()]
    true = [(whole, parts) for whole, parts in there if counts[whole] == sum(counts[part] for part in parts)]
    return Secrets(counts, true, frozenset(things))


def _current(pipeline: Pipeline, asset: str, extract: str) -> Any:
    return pipeline.store.current(asset, extract if asset == "raw_records" else None)


def _numbers(found: Any, place: str) -> Iterator[tuple[str, int]]:
    """All whole numbers of counts, things apart, by place."""
    kinds = figures(found, declared(place))

    def walk(counts: Any, kind: Any, path: str) -> Iterator[tuple[str, int]]:
        if isinstance(counts, dict):
            for name, value in counts.items():
                yield from walk(value, kind.get(name) if isinstance(kind, dict) else None, f"{path}/{name}")
        elif isinstance(counts, int) and not isinstance(counts, bool) and not isinstance(kind, Things | Score | Share):
            yield path, counts

    yield from walk(found, kinds, place)


def _conserved(counts: Mapping[str, int]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What came in is kept, collapsed, or dropped."""
    for name in counts:
        if name.endswith("/rows_in"):
            stem = name.removesuffix("rows_in")
            parts = [stem + part for part in ("kept", "collapsed") if stem + part in counts]
            yield name, (*parts, *(other for other in counts if other.startswith(f"{stem}dropped/")))


def _things(manifests: Mapping[str, Any]) -> Iterator[int]:
    """Whole numbers of the manifests that tell of nobody."""
    for asset, found in manifests.items():
        named = {name for name, _ in _numbers(found, asset)}
        for place, value in _leaves(found, asset):
            if isinstance(value, int) and place not in named:
                yield value


def _machine(place: str, name: str, value: Any, step: int, below: int) -> Shown:
    """A number for machines. One that is left out may be any."""
    low, high = (0, MOST) if value is None else _around(int(value), step, below)
    return Shown(place, (name,), repr(value), low, high)


def read(pipeline: Pipeline, released: Path | None = None, log: str = "") -> Attack:
    """Read all that a study shows; `released` is the folder of a release."""
    guard = guard_of(pipeline.study)
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
            attack.texts[f"check {asset}/{outcome.name}"] = f"{outcome.message} {_shown(outcome.figures, guard)}"
        counts = artifact.counts
        lost = sum(counts["dropped"].values()) if "dropped" in counts else None
        rows.append(Row(asset, "", "made", counts.get("rows_in"), counts.get("kept"), lost, 1.0, "", counts=counts))
    for row in rows:
        dropped = tuple(name for name in known if name.startswith(f"{row.asset}/dropped/"))
        for name, value in summary._shown(row, guard).items():
            of = {"read": (f"{row.asset}/rows_in",), "kept": (f"{row.asset}/kept",), "rejected": dropped}[name]
            if value is not None and of and all(each in known for each in of):
                attack.shown.append(
                    Shown("summary.json", of, str(value), *_around(int(value), guard.step, guard.below))
                )
            attack.texts[f"summary.json, {row.asset}/{name}"] = str(value)
    if released:
        for place, value in _leaves(json.loads((released / "counts.json").read_text(encoding="utf-8")), ""):
            if place in known:
                attack.shown.append(_machine("counts.json", place, value, guard.step, guard.below))
            attack.texts[f"counts.json, {place}"] = str(value)
    _read_page(attack, pipeline.store.current("cluster_reports").file("report.html").read_text(encoding="utf-8"))
    attack.texts["log"] = log
    return attack


def _leaves(found: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(found, dict):
        for name, part in found.items():
            yield from _leaves(part, f"{place}/{name}" if place else name)
    elif not isinstance(found, bool | str | list):
        yield place, found


class Page(HTMLParser):
    """The tables of a page as rows of cells; its text, and its prose, which is the text without tables."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.text, self.prose, self._cell, self._hidden = "", "", False, 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Begin a table, row or cell."""
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th") and self.tables and self.tables[-1]:
            self.tables[-1][-1].append("")
            self._cell = True
        self._hidden += tag in ("script", "style")
        self.text, self.prose = f"{self.text} ", f"{self.prose} "

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
    text = " ".join(page.text.split())
    attack.texts["the page"] = re.sub(r"All settings \{.*?\} \} Records of|\b[0-9a-f]{16}\b", "", text)
    for table in page.tables:
        head = table[0] if table else []
        if head[:3] == ["What", "In", "Kept"]:
            for row in table[1:]:
                _stage(attack, [" ".join(cell.split()) for cell in row])
        elif head[:1] == ["Cluster"] and len(head) > 5:
            for row in table[1:]:
                _add(attack, "list of clusters", (f"size/{row[0]}",), row[2])
        elif head[:1] == ["Disease"] and len(head) > 7:
            for row in table[1:]:
                for column, name in ((6, "events"), (7, "unmapped_events")):
                    _add(attack, "lists of codes", (f"cohort/lists/{row[0]}/{name}",), row[column])
        elif head and head[0].startswith("first"):
            _add(attack, "transitions", ("patient_trajectories/patients/kept",), table[-1][-1])
        elif head[:1] == ["Quantity"]:
            names = {
                "patients in the data set": "patient_dataset/patients/kept",
                "cohort patients": "cohort/kept",
                "validation patients": "data_split/validation",
                "patients removed for few visits": "patient_dataset/patients/dropped/few_visits",
                "rows of the raw table": "raw_records/rows_in",
            }
            for row in table[1:]:
                if row[0] in names:
                    _add(attack, "published beside this run", (names[row[0]],), row[2].partition(" (")[0])
    _sentences(attack, " ".join(page.prose.split()))


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
        "events of the vocabulary": "vocabulary/events/kept",
        "events in the data set": "patient_dataset/kept",
        "without an event of the vocabulary": "patient_dataset/patients_without_events",
        "with too few visits": "patient_dataset/patients/dropped/few_visits",
        "who have none of the diseases": "none_of_the_diseases",
        "no chosen concept": "patient_embeddings/dropped/no_chosen_concept",
        "repeated within a visit": "patient_dataset/collapsed",
    }
    for words, name in patients.items():
        for match in re.finditer(rf"(?<!\S)({NUMBER}) {re.escape(words)}(?! or )", text):
            _add(attack, "diagram or sentence", (name,), match[1])
    if match := re.search(
        rf"everybody who has a code of the diseases \(({NUMBER})\), of whom ({NUMBER}) are not", text
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


def cells(pipeline: Pipeline) -> Iterator[str]:
    """Rows of the clusters' tables of which number and share together leave too few counts of a patient."""
    page, below = Page(), guard_of(pipeline.study).below
    page.feed(pipeline.store.current("cluster_reports").file("report.html").read_text(encoding="utf-8"))
    size = 0
    for table in page.tables:
        for row in table:
            if row and row[0] == "Who" and (match := re.match(r"([\d,]+) patients", row[1].strip())):
                size = _integer(match[1])
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
