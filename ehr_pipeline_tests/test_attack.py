"""An attack on what is shown: from texts and figures beside each other, and from totals, no small count may be had back.

Attacked are, of a study's run: every figure of a check and every count of a manifest as Dagster and the release show them (a share
with the number that it is of; what came in with what was kept and what was dropped), and the shares of the page's table beside the
published figures with the two numbers that they stand between. Two pages of different days are another matter (docs/decisions.md).
"""

import copy
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest

from ehr_pipeline import checks
from ehr_pipeline.chain.pipeline import Pipeline
from ehr_pipeline.disclosure.figures import OF_CONCEPTS, Guard, People, Share
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports import flow
from ehr_pipeline.store.artifacts import STAGES
from ehr_pipeline_tests.reports.test_flow import COUNTS

BELOW, TO = 10, 10
GUARD = Guard(BELOW, TO)


def hidden_by(shown: int | None) -> tuple[int, int]:
    """The fewest and the most that a count can be, of which this is shown."""
    return (1, BELOW - 1) if shown is None else (max(shown - TO // 2, 0), shown + TO // 2)


def numerators(shown: float, of: int, decimals: int) -> list[int]:
    """The counts whose share of `of` is shown so."""
    low, high = (of * (shown + sign * 0.5 / 10**decimals) for sign in (-1, 1))
    return [
        count
        for count in range(max(math.floor(low), 0), min(math.ceil(high), of) + 1)
        if round(count / of, decimals) == shown
    ]


def narrowed(counts: dict[str, Any], shown: dict[str, Any], place: str = "") -> Iterator[str]:
    """Places where small counts follow from what came in, was kept, collapsed, and dropped for other reasons."""
    for name, value in shown.items():
        if isinstance(value, dict):
            yield from narrowed(counts[name], value, f"{place}/{name}")
    dropped = shown.get("dropped")
    if not isinstance(dropped, dict) or not {"rows_in", "kept"} <= set(shown):
        return
    for name, value in dropped.items():
        if value is not None:
            continue
        others = [hidden_by(other) for key, other in dropped.items() if key != name]
        others += [hidden_by(shown[key]) for key in ("kept", "collapsed") if key in shown]
        fewest = hidden_by(shown["rows_in"])[0] - sum(most for _, most in others)
        most = hidden_by(shown["rows_in"])[1] - sum(least for least, _ in others)
        if fewest > 1 or most < BELOW - 1:
            yield f"{place}/dropped/{name}: {counts['dropped'][name]} lies from {fewest} to {most}"


@pytest.mark.parametrize("asset", [asset for asset in STAGES if asset not in OF_CONCEPTS])
def test_counts_of_a_run_tell_of_no_few(tiny: Pipeline, asset: str) -> None:
    partition = tiny.store.partitions(asset)[0] if asset == "raw_records" else None
    counts = tiny.store.current(asset, partition).counts
    assert not list(narrowed(counts, GUARD.artifact(asset, counts)))


@pytest.mark.parametrize("asset", STAGES)
def test_shares_of_a_run_stand_for_many_counts_each(tiny: Pipeline, asset: str) -> None:
    partition = tiny.store.partitions(asset)[0] if asset == "raw_records" else None
    for outcome in checks.evaluate(asset, tiny.store.current(asset, partition), tiny.store, tiny.study):
        for name, figure in outcome.figures.items():
            shown = GUARD.figure(figure)
            if isinstance(figure, People):
                assert shown is None or shown % TO == 0, name
            if isinstance(figure, Share) and 0 < figure.of <= 10**5 and 0 <= figure.value <= 1:
                assert shown is not None
                found = numerators(shown, figure.of, GUARD.decimals(figure.of))
                assert len(found) >= min(BELOW // 2, figure.of), f"{outcome.name}: {name}"


def test_the_attack_has_a_share_back_of_which_all_digits_are_shown() -> None:
    assert numerators(281 / 308, 308, 16) == [281]
    assert len(numerators(0.9, 308, GUARD.decimals(308))) > BELOW


def test_the_attack_has_counts_back_that_are_hidden_alone() -> None:
    counts = {"rows_in": 1_003, "kept": 1_000, "dropped": {"few": 3}}
    exact: dict[str, Any] = {"rows_in": 1_003, "kept": 1_000, "dropped": {"few": None}}
    assert not list(narrowed(counts, GUARD.artifact("cohort", counts)))
    assert list(narrowed({"rows_in": 1_040, **counts}, exact | {"rows_in": 1_040, "kept": 1_000}))


def shown_rows(few: int, visits_of_few: int, validation: int) -> list[tuple[str, str]]:
    """Texts of the page that stand beside each other, where few patients have few visits."""
    counts = copy.deepcopy(COUNTS)
    dataset = counts["patient_dataset"]
    dataset["patients"] = {"rows_in": 600, "kept": 600 - few, "dropped": {"few_visits": few, "only_large_visits": 0}}
    dataset["visits"] = {
        "rows_in": 8_940 + visits_of_few,
        "kept": 8_900,
        "dropped": {"large": 40, "few_visits": visits_of_few},
    }
    counts["data_split"] = {
        "rows_in": 600 - few,
        "kept": 600 - few,
        "train": 600 - few - validation,
        "validation": validation,
    }
    counted = flow.Counted.of(counts, [990, 990], Disclosure(BELOW))
    rows = [(str(row["words"]), str(row)) for row in flow.rows(counted)]
    return rows + [(name, own) for name, _, own in flow.published(counted, {"parameters": 1, "epochs": []})]


def test_visits_do_not_tell_how_few_patients_had_few() -> None:
    """With two visits each at most, 14 are of seven to nine patients."""
    name = "visits in the patient data set"
    one, nine = (dict(shown_rows(few, visits, 13))[name] for few, visits in ((1, 2), (9, 14)))
    assert one == nine
    exact = dict(shown_rows(50, 60, 13))[name]
    assert "'60'" in exact


def test_a_share_tells_no_more_than_the_numbers_beside_it() -> None:
    """'about 10 (2.2 %)' of 600 is 13 alone."""
    texts = {validation: dict(shown_rows(5, 8, validation))["validation patients"] for validation in range(10, 40)}
    for validation, text in texts.items():
        assert re.match(r"about \d+0 \(", text), text
        about = text.partition(" (")[0]
        same = [other for other, own in texts.items() if own.partition(" (")[0] == about]
        assert {texts[other] for other in same} == {text}, f"{validation}: the share parts what the number joins"
