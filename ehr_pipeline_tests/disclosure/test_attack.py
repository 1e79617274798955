"""An attack on what is shown (`attack_on_outputs`): from texts beside each other, and from totals, no small count may be had back.

Two pages of different days are another matter (docs/decisions.md).
"""

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.disclosure.figures import Guard
from ehr_pipeline.disclosure.kinds import Events, People, Share
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.export import release
from ehr_pipeline.reports.sections import flow
from ehr_pipeline.reports.shown_counts import Scale, StageCounts
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline_tests import attack_on_outputs
from ehr_pipeline_tests.attack_on_outputs import meant
from ehr_pipeline_tests.deduce_counts import MOST, Attack, Excused, Secrets, Shown, secrets
from ehr_pipeline_tests.reports.sections.test_flow import COUNTS

BELOW, TO = 10, 10
GUARD = Guard(BELOW, TO)
FREE = "patient_embeddings/quality/patients"
"""A count of which the page tells nothing."""


@pytest.fixture(scope="module")
def attack(tiny: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Attack:
    """All that the tiny study shows, as it is read."""
    folder = tmp_path_factory.mktemp("released") / "release"
    release.release(tiny, folder)
    return attack_on_outputs.read(tiny, folder)


def test_nothing_follows_from_all_that_a_study_shows(attack: Attack, tiny: Pipeline) -> None:
    assert attack.found() == []
    assert list(attack_on_outputs.cells(tiny)) == []


def test_the_attack_reads_every_place(attack: Attack) -> None:
    places = {one.place for one in attack.shown}
    assert {"Dagster", "counts.json", "summary.json", "table of stages", "diagram or sentence"} <= places
    assert {"list of clusters", "published beside this run", "cohort by disease", "lists of codes"} <= places
    assert {"sentence on the cohort", "transitions", "change over time"} <= places
    assert len(attack.shown) > 200
    assert attack.pairs > 1000
    small = [name for name, count in attack.secrets.counts.items() if 0 < count < BELOW]
    assert "patient_dataset/patients/dropped/few_visits" in small, "there is something to be had"


def test_a_row_that_names_a_group_of_clusters_tells_no_size(attack: Attack) -> None:
    (size, *_) = [name for name in attack.secrets.counts if name.startswith("size/")]
    rows = [
        "<td colspan=6>One group in 2 parts</td>",
        f"<td>{size.removeprefix('size/')}</td><td>Gout</td><td>123</td>",
    ]
    head = "<th>Cluster</th>" + "<th>What marks it</th>" * 5
    read = Attack(attack.secrets, attack.below, [], {})
    attack_on_outputs._read_page(read, f"<table><tr>{head}</tr><tr>{'</tr><tr>'.join(rows)}</tr></table>")
    assert [(one.counts, one.text) for one in read.shown] == [((size,), "123")]


def test_the_settings_at_the_end_of_the_page_are_not_read_as_counts(attack: Attack) -> None:
    assert '"hidden_size"' not in attack.texts["the page"]


def planted(attack: Attack, *shown: Shown, **texts: str) -> list[str]:
    """What is found when more is shown."""
    return Attack(attack.secrets, attack.below, [*attack.shown, *shown], attack.texts | texts).found()


def test_the_attack_sees_an_exact_number_beside_a_rounded_one(attack: Attack) -> None:
    name = "patient_dataset/patients/kept"
    exact = attack.secrets.counts[name]
    found = planted(attack, Shown("planted", (name,), str(exact), exact, exact))
    assert any(problem.startswith("patient_dataset/patients/dropped/few_visits, which is 7") for problem in found)


def test_the_attack_sees_a_rounded_number_beside_the_exact_sum_of_the_clusters(attack: Attack) -> None:
    """As Dagster showed the cohort's: with what its lists lost, it would tell how few are not in the data set."""
    name, count = "cohort/rows_in", attack.secrets.counts["cohort/rows_in"]
    low, high = attack_on_outputs._around(GUARD.count(count) or 0, TO, BELOW)
    assert planted(attack, Shown("planted", (name,), "", low, high))


@pytest.mark.parametrize("text", ["kept {:,} tokens", "{} tokens", "'kept': {}"])
def test_the_attack_sees_a_hidden_number_in_any_text(attack: Attack, text: str) -> None:
    count = attack.secrets.counts["patient_embeddings/tokens/kept"]
    assert any("stands in log" in problem for problem in planted(attack, log=text.format(count)))
    assert not planted(attack, log=text.format(GUARD.count(count)))


def test_the_attack_reads_the_prediction_report(attack: Attack) -> None:
    """The tiny study has no tasks, so no such page."""
    count = attack.secrets.counts["patient_embeddings/tokens/kept"]
    read = Attack(attack.secrets, attack.below, attack.shown)
    attack_on_outputs._read_predictions(read, f"<p>Of <b>{count:,}</b> patients</p><script>{count}</script>")
    assert [problem.split(": ")[1] for problem in read.found()] == [
        f"{count} stands in the prediction report, as {count:,}"
    ]


def bounds(text: str) -> tuple[list[str], list[str]]:
    """What is found in a text of the log where 308 is hidden and 309 is known to all, and the texts that are excused."""
    counts = {"encoder/patients": 308, "clusters/kept": 309}
    attack = Attack(Secrets(counts, [], frozenset()), BELOW, [Shown("page", ("clusters/kept",), "309", 309, 309)])
    attack.texts["log"] = text
    return attack.found(), [bound.text for bound in attack.excused]


def test_a_bound_that_follows_from_a_number_known_to_all_is_excused_and_no_other_text_is() -> None:
    assert bounds("of >308 patients") == ([], [">308"])
    assert bounds("of <310 patients") == ([], [])
    for text in ("of 308 patients", "of >307 patients", "of <308 patients"):
        found, excused = bounds(text)
        assert len(found) == 1, text
        assert excused == []


def test_a_number_of_an_asset_that_a_page_does_not_read_is_excused_there_alone() -> None:
    counts = {"task_labels/cases": 178, "clusters/kept": 309}
    for place, found in (("page", 0), ("log", 1)):
        attack = Attack(Secrets(counts, [], frozenset()), BELOW, texts={place: "of 178 patients"})
        attack.made_of["page"] = ("clusters",)
        assert (len(attack.found()), len(attack.excused)) == (found, 1 - found)


def test_years_of_citations_are_no_counts() -> None:
    told = attack_on_outputs.CITED.sub("", "groups differ (Austin 2009), of 2009 patients, Hedges and Olkin 1985")
    assert re.findall(r"\d+", told) == ["2009"]


def test_a_text_that_is_made_from_a_count_does_not_stay_when_the_count_is_another(
    attack: Attack, tiny: Pipeline, tmp_path: Path
) -> None:
    """The number of rows read is on the page; how many patients the share of the encoder was chosen by is not."""
    read = "raw_records/rows_in"
    number = next(one.text for one in attack.shown if one.counts == (read,) and one.place == "diagram or sentence")
    made = Excused(read, number, "the page")
    assert not attack_on_outputs.stays(tiny, attack, made, tmp_path / "a")
    assert attack_on_outputs.stays(tiny, attack, replace(made, name=FREE), tmp_path / "b")
    logged, in_log = replace(attack, texts={"log": number}), replace(made, name=FREE, place="log")
    assert not attack_on_outputs.stays(tiny, logged, in_log, tmp_path / "c"), "nothing is logged anew"
    assert not attack_on_outputs.stays(tiny, attack, replace(made, name="size/1"), tmp_path / "d")


@pytest.mark.parametrize("asset", STAGES)
def test_figures_of_checks_are_rounded_counts_or_made_of_them(tiny: Pipeline, asset: str) -> None:
    partition = tiny.store.partitions(asset)[0] if asset == "raw_records" else None
    for outcome in ASSETS[asset].evaluate(tiny.store.current(asset, partition), tiny.store, tiny.study):
        for name, figure in outcome.figures.items():
            shown = GUARD.number(figure)
            if isinstance(figure, People | Events):
                assert shown is None or shown % TO == 0, name
            if isinstance(figure, Share) and shown is not None:
                alike = [
                    part
                    for part in range(max(figure.part.number - 30, 0), figure.part.number + 30)
                    if GUARD.number(Share(type(figure.part)(part), figure.whole)) == shown
                ]
                assert len(alike) >= BELOW // 2 or figure.part.number in (0, figure.whole.number), outcome.name


FEW = st.integers(0, 25)


@settings(max_examples=100, deadline=None)
@given(st.integers(300, 330), FEW, FEW, FEW, FEW, FEW, FEW, st.lists(st.integers(1, 9), max_size=3), st.integers(0, 1))
def test_nothing_follows_from_the_flow_whatever_was_lost(
    shown: int, hidden: int, lost: int, outside: int, others: int, few: int, without: int, small: list[int], joined: int
) -> None:
    """Whatever the numbers are, of clusters, of those without a vector, not in the data set, without a disease, of few visits."""
    counts, clustered = copy.deepcopy(COUNTS), shown + sum(small)
    cohort, large = clustered + lost, joined * hidden
    kept = cohort + others + 400 * (others % 2)
    dataset = counts["patient_dataset"]
    dataset["patients"] = {
        "rows_in": kept + few + large,
        "kept": kept,
        "dropped": {"few_visits": few, "only_large_visits": large},
    }
    dataset["patients_without_events"] = without
    raw = kept + few + large + without
    counts["raw_records"]["patients"] = {"rows_in": raw + hidden, "kept": raw, "collapsed": hidden, "dropped": {}}
    counts["data_split"] = {"rows_in": kept, "kept": kept, "train": kept - 5 - few, "validation": 5 + few}
    counts["cohort"] = {
        "rows_in": cohort + outside,
        "kept": cohort,
        "dropped": {"not_in_patient_dataset": outside},
        "by_disease": {"eczema": cohort - 30 - few, "psoriasis": 30 + few},
    }
    counts["patient_embeddings"] = {"rows_in": cohort, "kept": clustered, "dropped": {"no_chosen_concept": lost}}
    sizes = [150, shown - 150, *small]
    counts["clusters"] = {"rows_in": clustered, "kept": clustered, "clusters": len(sizes), "smallest": min(sizes)}
    assert attacked(counts, sizes).found() == []


def attacked(counts: dict[str, Any], sizes: list[int]) -> Attack:
    """What the page shows of some counts, read as the page is."""
    counted = StageCounts.of(counts, sizes, Disclosure(BELOW))
    attack = Attack(secrets(counts, dict(enumerate(sizes))), BELOW)
    for number, size in enumerate(sizes):
        attack_on_outputs._add(attack, "list of clusters", (f"size/{number}",), Disclosure(BELOW).show(size))
    for row in flow.rows(counted):
        lost = " · ".join(f"{reason} {number}" for reason, number in row["dropped"].items())
        attack_on_outputs._stage(
            attack, [f"{row['words']} {row['asset']}", row["rows_in"], row["kept"], row["collapsed"], lost]
        )
    steps = [*flow.patients(counted), *flow.events(counted)]
    boxes = [f"{step.number} {step.words} {' '.join(f'{n} {words}' for words, n in step.lost)}" for step in steps]
    diseases = " · ".join(f"{name} {number}" for name, number in flow.by_disease(counted))
    cohort = f"Cohort by disease: {diseases}. Patients of the cohort"
    attack_on_outputs._sentences(attack, " ".join([*boxes, flow.reconciled(counted), cohort]))
    return attack


def test_numbers_near_the_exact_one_have_one_text() -> None:
    scale = Scale(Disclosure(BELOW), rounded=True, exact=9_823)
    assert scale(9_823) == "9,823"
    assert {scale(9_823 + lost) for lost in range(1, 20)} == {">9,822"}
    assert scale(9_900) == "about 9,900"
    hidden = Scale(Disclosure(BELOW), rounded=True, exact=9_823, hidden=1)
    assert {hidden(9_823 + size) for size in range(1, 30)} == {">9,823"}


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("about 20", (15, 24)),
        ("about 10", (10, 14)),
        ("<10", (1, 9)),
        (">24", (25, MOST)),
        ("190–219", (190, 219)),
        ("1,234", (1234, 1234)),
        ("–", None),
    ],
)
def test_texts_are_read_as_what_they_may_be(text: str, ends: tuple[int, int] | None) -> None:
    assert meant(text, BELOW) == ends
