"""The page of predictions, of invented results: what it says first, what it suppresses, and what it warns of."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.prediction_report import page, sections
from ehr_pipeline.prediction_report.findings import Findings
from ehr_pipeline.prediction_report.sections import merged
from ehr_pipeline.predictions.table import TaskResults, empty
from ehr_pipeline_tests.prediction_report.invented import counts, definition, foreseen, results, rising

BETTER = {
    "counts": rising(0.60, 0.08),
    "rule_of_thumb": rising(0.55, 0.02),
    "vectors": rising(0.70, 0.06),
    "masked": 0.70,
}
DROPPED = {"few_visits_before": 3, "outcome_before": 700, "left_in_window": 111}


def findings(found: TaskResults, folder: Path, below: int = 10) -> Findings:
    slugs = [row["task"] for row in found.verdicts]
    return Findings(
        found,
        tuple(definition(number, slug) for number, slug in enumerate(slugs)),
        {slug: counts(DROPPED) for slug in slugs},
        Naming(below, "key"),
        "<study>",
        {},
        folder,
    )


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)).split())


def first_sentence(found: TaskResults, folder: Path) -> str:
    return str(sections.head(findings(found, folder))[0])


@pytest.mark.parametrize(
    ("curves", "told"),
    [
        (BETTER, "With 100 labels, the model is as good as counting with 1,000 (95 % interval 750 to 1,300). With the"
         " same labels, its mean AUROC over 2 tasks is 0.760; that of counting is 0.680."),
        ({**BETTER, "vectors": rising(0.88, 0.01)},
         "With 100 labels, the model is better than counting with all labels. With the same labels, its mean AUROC over 2"
         " tasks is 0.890"),
        ({**BETTER, "vectors": rising(0.808, 0.01)},
         "With 100 labels, the model is at least as good as counting with 4,000 (95 % interval 4,000 to more than all, about"
         " 5,000). With the same labels, its mean AUROC over 2 tasks is 0.818"),
        ({**BETTER, "vectors": rising(0.50, 0.01), "masked": 0.692},
         "With 100 labels, the model is better than counting with the same labels: its mean AUROC over 2 tasks is 0.692; that of"
         " counting is 0.680 (difference +0.012, 95 % interval +0.002 to +0.022). How many labels counting needs to be as good is"
         " uncertain (95 % interval 35 to 180): chance often inflates a difference that is only just significant."),
        ({**BETTER, "vectors": rising(0.50, 0.01), "masked": 0.68},
         "With 100 labels, the model is not shown to be better than counting with the same labels: its mean AUROC over 2 tasks is"
         " 0.680; that of counting is 0.680 (difference +0.000, 95 % interval -0.010 to +0.010)."),
        ({**BETTER, "vectors": rising(0.50, 0.01), "masked": 0.55}, "With 100 labels, the model is worse than counting with the"),
    ],
)  # fmt: skip
def test_the_first_sentence_says_what_the_model_is_worth(curves: dict[str, Any], told: str, tmp_path: Path) -> None:
    assert first_sentence(results(["a", "b"], curves), tmp_path).startswith(told)


def test_nothing_to_say(tmp_path: Path) -> None:
    few = results(["a"], BETTER, verdict="too few", model="", baseline="", model_auroc=None, baseline_auroc=None)
    told = findings(replace(empty(), verdicts=few.verdicts), tmp_path)
    assert [str(each) for each in sections.head(told)] == [
        "Nothing can be said of what the model predicts: no task has enough cases.",
        "With all labels, of 1 task: in 1 too few index dates have the outcome, or too few have not.",
    ]
    html = text_of(page.render(told))
    assert "too few with or without the outcome" in html
    assert "Learning curve" not in html


@pytest.mark.parametrize(
    ("masked", "told"),
    [
        (0.90, "better than counting with all labels."),
        (0.818, "at least as good as counting with 4,000 labels (95 % interval 4,000 to more than all, about 5,000)."),
        (0.76, "as good as counting with 1,000 labels (95 % interval 750 to 1,300)."),
        (0.55, "no better than counting with 10 labels."),
    ],
)
def test_what_it_is_worth_without_a_label_has_an_interval(masked: float, told: str, tmp_path: Path) -> None:
    """ "Better than counting with all labels" was said in half of all studies in which both are equally good."""
    found = findings(results(["a"], {**BETTER, "vectors": rising(0.5, 0.1), "masked": masked}), tmp_path)
    assert str(sections.head(found)[-2]).endswith(told)


def test_the_page_says_where_nothing_predicts(tmp_path: Path) -> None:
    """In the first sentences, and beside the verdict; labels are worth nothing there."""
    curves = {"counts": rising(0.48, 0.01), "vectors": rising(0.49, 0.01), "masked": 0.5}
    found = findings(results(["a", "b"], curves, width=0.1, verdict="level"), tmp_path)
    _, chance, without, verdicts = (str(each) for each in sections.head(found))
    best = "with all labels, the best mean AUROC is 0.517 (0.467–0.567); chance is 0.5."
    assert chance == f"Neither the model nor counting is shown to predict better than chance: {best}"
    assert (
        without
        == "Without any labels, the encoder’s masked-token probability of the outcome has a mean AUROC of 0.500 (95 % interval"
        " 0.450 to 0.550, over 2 tasks): not shown to be better than chance."
    )
    assert verdicts.endswith(
        "in 2 no difference from the best baseline is shown. In 2, neither the model nor the best baseline is shown to"
        " predict better than chance."
    )
    assert text_of(page.render(found)).count("level, both at chance") == 2
    better = findings(results(["a"], BETTER), tmp_path)
    assert not [each for each in sections.head(better) if "chance" in str(each)]
    assert "both at chance" not in page.render(better)


def test_guards_that_found_the_same_stand_together(tmp_path: Path) -> None:
    few = [{"guard": "enough_cases", "task": name, "passed": False, "message": "under 50 cases"} for name in ("a", "b")]
    one = {"guard": "index_rule", "task": "a", "passed": None, "message": "not known"}
    told = sections.guards(findings(replace(results(["a", "b"], BETTER), guards=(one, *few)), tmp_path))
    assert [row["task"] for row in told["open"]] == ["Task a <, Task b <", "Task a <"]
    assert str(told["lead"]).startswith("Of 2 guards, 1 found something and 1 could not be checked")


def test_guards_that_found_something_are_named_at_the_top(tmp_path: Path) -> None:
    """With their tasks, or how many; not those that the first sentences or notes tell of."""
    names = [*"abcd"]
    found = [{"guard": "deciding_concepts", "task": "a", "passed": False, "message": "1"}]
    found += [{"guard": "groups_have_cases", "task": name, "passed": False, "message": "2"} for name in names]
    found += [{"guard": "enough_cases", "task": "b", "passed": False, "message": "few"}]
    found += [{"guard": "permuted_labels", "task": "b", "passed": True, "message": "fine"}]
    told = findings(replace(results(names, BETTER), guards=tuple(found)), tmp_path)
    (caution,) = (str(each) for each in sections.worth(told)["cautions"])
    assert "“No single concept decides the outcome” (Task a &lt;)" in caution
    assert "“Every group of the audited attributes, and every year, has cases” (in 4 tasks)" in caution
    assert "enough cases" not in caution
    assert not sections.worth(findings(results(names, BETTER), tmp_path))["cautions"]


def whole() -> TaskResults:
    """Results with something in every table."""
    told = results(["a", "b"], BETTER)
    bins = [(20, 0, 0.01), (20, 2, 0.05), (20, 9, 0.4), (20, 15, 0.7)]
    calibration = [
        {"task": "a", "model": "vectors", "bin": n, "rows": rows, "cases": cases, "predicted": p, "predicted_after": p,
         "observed": cases / rows} for n, (rows, cases, p) in enumerate(bins)
    ]  # fmt: skip
    subgroups = [
        {"task": "a", "model": "vectors", "attribute": "practice", "value": value, "patients": patients, "rows": patients,
         "cases": cases, "auroc": auroc, "auroc_low": None, "auroc_high": None, "predicted": 0.1, "observed": cases / patients}
        for value, patients, cases, auroc in (("P-large", 400, 56, 0.71), ("P-small", 7, 3, None), ("P-few", 300, 4, None))
    ]  # fmt: skip
    benefit = [
        {"task": "a", "model": model, "threshold": 0.2, "net_benefit": value, "treat_all": -0.1}
        for model, value in (("vectors", 0.0123), ("counts", 0.0071))
    ]
    return replace(
        told,
        calibration=tuple(calibration),
        subgroups=tuple(subgroups),
        net_benefit=tuple(benefit),
        guards=(
            {"guard": "permuted_labels", "task": "a", "passed": True, "message": "AUROC 0.5"},
            {"guard": "test_side_unseen", "task": "", "passed": None, "message": "no file"},
        ),
        deciding_concepts=(
            {
                "task": "a",
                "concept": "C1",
                "name": "Always <one>",
                "kind": "nearly always",
                "patients": 60,
                "rows": 70,
                "cases": 66,
            },
            {"task": "a", "concept": "C2", "name": "Rare", "kind": "always", "patients": 9, "rows": 9, "cases": 9},
        ),
    )


def test_the_page_is_whole_and_suppresses_small_counts(tmp_path: Path) -> None:
    html = page.render(replace(findings(whole(), tmp_path), forecasts=foreseen()))
    told = text_of(html)
    assert html.rstrip().endswith("</html>")
    assert 'src="http' not in html
    assert "Task a &lt;" in html
    for section in page.SECTIONS:
        assert f'id="{section.name}"' in html
    assert "about 1,230" in told
    assert not re.search(r"\b(1,?234|123)\b", html)
    assert "P-large" in told
    assert "P-small" not in told
    assert "P-few about 300 about 300 <10 –" in told.replace("&lt;", "<")
    assert "Always &lt;one&gt;" in html
    assert "Rare" not in told
    assert "Not shown, because too few patients have them: 1 concept." in told
    assert "too few visits in the history or left within the window" in told
    assert "cannot be checked" in told
    assert "Of 2 guards, 1 could not be checked: read these first" in told
    assert "0.0123" in told
    assert html.count("data:image/png;base64,") == 2


def test_predictions_are_called_wrong_only_where_the_interval_says_so(tmp_path: Path) -> None:
    right = text_of(page.render(findings(whole(), tmp_path)))
    assert "After recalibration, no error is shown in any of 2 tasks" in right
    assert "0.90 0.70 to 1.10 0.00 -0.20 to 0.20" in right, "no minus zero"
    bent = {"slope_after": 0.62, "slope_after_high": 0.8} | {"intercept_after_low": 0.1, "intercept_after": 0.15}
    rows = tuple(row | bent if (row["task"], row["model"]) == ("a", "vectors") else row for row in whole().results)
    wrong = text_of(page.render(findings(replace(whole(), results=rows), tmp_path)))
    assert (
        "predictions of the best model are too extreme for Task a &lt; (slope 0.62, 0.70 to 0.80); and too low on average for"
        " Task a &lt; (intercept 0.15, 0.10 to 0.20)."
    ) in wrong
    assert "Even after recalibration, predictions" in wrong
    before = {"slope_low": 0.7, "slope_high": 1.2, "intercept_low": -0.3, "intercept_high": -0.1}
    rows = tuple(row | before if row["task"] == "a" else row for row in rows)
    harmed = text_of(page.render(findings(replace(whole(), results=rows), tmp_path)))
    assert "Even after recalibration, predictions of the best model are too low on average for" in harmed
    assert "After recalibration, but not before, predictions of the best model are too extreme for Task a" in harmed
    within = tuple(row | {"slope_low": 0.6} if row["task"] == "a" else row for row in rows)
    doubtful = text_of(page.render(findings(replace(whole(), results=within), tmp_path)))
    assert "but not before" not in doubtful, "the same slope was possible before"
    none = {"slope_after": None, "intercept_after": None}
    rows = tuple(row | none if row["task"] == "a" else row for row in whole().results)
    assert "Not recalibrated, because there are too few cases: Task a &lt;." in text_of(
        page.render(findings(replace(whole(), results=rows), tmp_path))
    )


def test_calibration_leaves_out_tasks_whose_best_model_is_at_chance(tmp_path: Path) -> None:
    """There, recalibrated predictions would be called right or wrong, although none tells patients apart."""
    chance = {"auroc_low": 0.48, "slope_after": 0.1, "slope_after_low": -0.2, "slope_after_high": 0.4}
    told = whole()
    one, every = (
        replace(told, results=tuple(row | chance if row["task"] in tasks else row for row in told.results))
        for tasks in ("b", "ab")
    )
    html = page.render(findings(one, tmp_path))
    shown = text_of(html)
    assert "no error is shown in the only task that was examined:" in shown
    assert "Left out, because the best model is not shown to predict better than chance: Task b &lt;." in shown
    assert "At the highest risk, Task a" in html
    html = page.render(findings(every, tmp_path))
    shown = text_of(html)
    assert "better than chance: Task a &lt; and Task b &lt;." in shown
    assert "no error is shown" not in shown
    assert "predictions of the best model are" not in shown
    assert "At the highest risk" not in html
    assert "Left out, because" not in text_of(page.render(findings(told, tmp_path)))


def test_fine_tuned_models_stand_beside_the_others_and_are_explained(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    tuned = results(["a"], {**BETTER, "tuned_mask": rising(0.75, 0.06)})
    told = findings(tuned, tmp_path / "own")
    text = text_of(page.render(told))
    assert "Fine-tuned, outcome’s tokens at the mask" in text
    assert "the encoder itself is trained further for each task" in text
    assert first_sentence(tuned, tmp_path).startswith("With 100 labels, the model is as good as counting with 4,200 ")
    assert "trained further for each task" not in text_of(
        page.render(findings(results(["a"], BETTER), tmp_path / "own"))
    )


def test_exact_counts_where_nothing_is_suppressed(tmp_path: Path) -> None:
    told = text_of(page.render(findings(whole(), tmp_path, below=1)))
    assert "1,234" in told
    assert "P-small" in told


def test_a_file_of_index_days_is_a_red_warning(tmp_path: Path) -> None:
    """The rule of thumb stands first in the sentence."""
    plain = page.render(findings(results(["a"], BETTER), tmp_path))
    assert "come from a file" not in plain
    html = page.render(findings(results(["a"], BETTER, index_may_know_outcome=True), tmp_path))
    warning = re.search(r'<div class="banner none">(.*?)</div>', html)
    assert warning
    assert "The index dates of Task a &lt; come from a file." in warning[1]
    assert "Look at the rule of thumb first" in warning[1]


def test_tasks_that_do_not_need_the_model_are_named(tmp_path: Path) -> None:
    html = text_of(page.render(findings(results(["a", "b"], BETTER, verdict="not needed"), tmp_path)))
    assert "in 2 the task does not need the model" in html
    assert (
        "Task a &lt; and Task b &lt; do not need the model: a rule of thumb reaches at least 95 % of the model’s gain over"
        in html
    )
    assert "also worse" not in html


def test_that_a_model_which_is_not_needed_is_worse_too_is_told_everywhere(tmp_path: Path) -> None:
    """The verdict, the sentences and the cell: "does not need the model" hid it."""
    found = results(["a", "b", "c"], BETTER, verdict="not needed")
    words = dict(zip("abc", ("worse", "level", "better"), strict=True))
    own = findings(
        replace(found, differences=tuple(row | {"verdict": words[row["task"]]} for row in found.differences)), tmp_path
    )
    html = text_of(page.render(own))
    assert "in 3 the task does not need the model (in 1 of them the model is also worse than the best baseline)" in html
    assert "In Task a &lt;, the model is also worse than the best baseline." in html
    for cell in ("the model, and the model is worse", "the model; level", "the model; the model is better"):
        assert f"does not need {cell}" in html


def test_where_all_that_do_not_need_the_model_are_worse_no_part_is_counted(tmp_path: Path) -> None:
    found = results(["a", "b"], BETTER, verdict="not needed")
    worse = replace(found, differences=tuple(row | {"verdict": "worse"} for row in found.differences))
    html = text_of(page.render(findings(worse, tmp_path)))
    assert "in 2 the task does not need the model (where the model is also worse than the best baseline)" in html


def test_tasks_whose_models_could_not_be_chosen_are_named(tmp_path: Path) -> None:
    told = findings(whole(), tmp_path)
    assert "in a fixed order" not in text_of(page.render(told))
    few = told.counts["b"] | {"by_side": {"validation": {"cases": 19}}}
    html = text_of(page.render(replace(told, counts={**told.counts, "b": few})))
    assert (
        "on the validation set (in a fixed order if the validation set has fewer than 20 cases: Task b &lt;)." in html
    )
    assert "500 bootstrap samples of patients" in text_of(page.render(replace(told, draws=500)))


def test_the_number_of_tests_stands_beside_the_false_discovery_rate(tmp_path: Path) -> None:
    html = text_of(page.render(findings(results(["a", "b"], BETTER), tmp_path)))
    assert "is below 5 % (vectors, logistic regression: 2 tasks); “better” also requires an AUROC above" in html


def test_a_choice_by_the_future_is_a_warning_with_its_share(tmp_path: Path) -> None:
    """Of 1,297 who would have a label, 111 leave within the window (8.6 %), or 400 (30.8 %)."""
    found = results(["a", "b"], BETTER)
    few = findings(found, tmp_path)
    assert few.leavers == []
    assert "Many patients left during" not in page.render(few)
    many = replace(few, counts={"a": few.counts["a"], "b": counts(DROPPED | {"left_in_window": 400})})
    assert many.leavers == [("Task b <", "30–32 %")]
    html = page.render(many)
    warning = re.search(r'<div class="banner weak"><b>Many patients left(.*?)</div>', html)
    assert warning
    assert "have a label: Task b &lt; (30–32 %)." in warning[1]
    assert "<code>follow_up = “censor”</code> gives the other patients weights" in warning[1]
    weighted = replace(
        many, definitions=tuple(replace(each, rule=each.rule | {"censor": True}) for each in many.definitions)
    )
    assert weighted.leavers == [], "weights make up for them"
    assert "not patients. They are unweighted. In tasks with weights" in page.render(weighted)
    assert "They are unweighted" not in html


def test_deaths_that_count_as_free_of_the_outcome_are_said(tmp_path: Path) -> None:
    """Of 1,297 index dates, 60 (4.6 %) or 200 (15.4 %) are for patients who died first; those of death as an outcome are not."""
    few = findings(results(["a", "b"], BETTER), tmp_path)
    kept = counts(DROPPED)
    some = replace(few, counts={"a": kept, "b": kept | {"died": 60}})
    assert some.deaths == []
    assert re.search(r"count as free of it: (about )?60 of (about )?[\d,]+ index dates", page.render(some))
    many = replace(few, counts={"a": kept, "b": kept | {"died": 200}})
    assert [name for name, _ in many.deaths] == ["Task b <"]
    warning = re.search(r'<div class="banner weak"><b>Many patients died during(.*?)</div>', page.render(many))
    assert warning
    assert "the risk that the outcome is recorded before death" in warning[1]
    dead = tuple(replace(each, outcome=("MEDS_DEATH",)) for each in many.definitions)
    assert replace(many, definitions=dead).deaths == []


def test_outcomes_on_one_day_and_groups_that_end_earlier_are_said(tmp_path: Path) -> None:
    few = findings(results(["a"], BETTER), tmp_path)
    plain = text_of(page.render(few))
    assert "the data end earlier" not in plain
    assert "on a single day only:" not in plain
    found = text_of(
        page.render(replace(few, counts={"a": counts(DROPPED) | {"on_one_day": 40}, "groups_ending_earlier": 2}))
    )
    assert re.search(r"on a single day only: (about )?40 of (about )?1\d\d index dates with it", found)
    assert "last day of the data; in 2 groups of patients (such as a practice), the data end earlier" in found


def test_counts_of_index_dates_need_as_many_patients(tmp_path: Path) -> None:
    """With three index dates for a patient, 123 cases are 41 patients or more, but 25 may be nine."""
    plain = findings(whole(), tmp_path)
    several = replace(plain, counts={slug: own | {"most_per_patient": 3} for slug, own in plain.counts.items()})
    assert [row["cases"] for row in sections.tasks(several)["rows"]] == ["about 120", "about 120"]
    of = plain.results.verdicts[0]["rows"]
    few = tuple(row | {"cases": 25} for row in plain.results.verdicts)
    (one, other) = (
        sections.tasks(replace(each, results=replace(each.results, verdicts=few)))["rows"][0]
        for each in (plain, several)
    )
    assert (one["cases"], other["cases"]) == ("about 30", "<30")
    assert one["patients"] == other["patients"]
    assert other["share"] == several.of_index_dates("a").coarse(25, of)
    died = replace(several, counts={"a": several.counts["a"] | {"died": 25, "on_one_day": 25}})
    assert died.died("a").startswith("<30 of about")
    assert died.on_one_day("a").startswith("<30 of about")


def test_where_dates_are_shifted_no_year_is_examined(tmp_path: Path) -> None:
    found = {"guard": "groups_have_cases", "task": "a", "passed": False, "message": "1"}
    plain = replace(findings(replace(results(["a"], BETTER), guards=(found,)), tmp_path), counts={"a": counts(DROPPED)})
    shown, shifted = (text_of(page.render(each)) for each in (plain, replace(plain, shifted_dates=True)))
    said, last = (
        "Each patient’s dates are shifted by a random number of days",
        "No window ends after the last day of the data",
    )
    assert (shown.count(said), shifted.count(said)) == (0, 1)
    assert (last in shown, last in shifted) == (True, False)
    assert ("and every year, has cases" in shown, "every year" in shifted) == (True, False)
    assert "Every group of the audited attributes has cases" in shifted


def test_bins_are_joined_until_each_has_enough_cases_and_others() -> None:
    bins = list(whole().calibration)
    assert merged(bins, 5) == [
        (pytest.approx((0.01 + 0.05 + 0.4) / 3), pytest.approx(11 / 60)),
        (pytest.approx(0.7), pytest.approx(0.75)),
    ]
    assert merged(bins, 10) == [(pytest.approx((0.01 + 0.05 + 0.4 + 0.7) / 4), pytest.approx(26 / 80))], (
        "5 without in the last"
    )
    assert len(merged(bins, 1)) == 3
    assert merged(bins[:2], 10) == []


def test_tables_and_pictures_can_be_read_without_seeing_them(tmp_path: Path) -> None:
    """Each table has a caption and a head whose cells name columns; each picture says what it shows, with its figures."""
    html = page.render(replace(findings(whole(), tmp_path), forecasts=foreseen()))
    tables = re.findall(r"<table.*?</table>", html, flags=re.DOTALL)
    assert len(tables) >= 9
    for table in tables:
        caption, head = re.search(r"<caption>(.*?)</caption>", table), re.search(r"<thead>(.*?)</thead>", table)
        assert caption
        assert caption[1]
        assert head
        assert all('scope="col"' in cell for cell in re.findall(r"<th\b[^>]*>", head[1]))
    curve, calibrated = re.findall(r'<img [^>]*alt="([^"]*)"', html)
    assert "With all labels: best model (vectors, logistic regression) 0.862; best baseline (" in curve
    assert curve.endswith(") 0.816. The table below has all figures.")
    assert re.search(r"At the highest risk, Task a &lt;: \d+ % where \d+ % was predicted\.", calibrated)
