"""Kinds of statements of the page, where each is false and where it is true, and how often `error_rates.py` saw it made."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results import table as markdown
from scipy.stats import binomtest

from ehr_pipeline.reports.statements.statement import Rate

Told = Mapping[str, Any]
"""What was measured in one cohort; see `error_rates.said`."""
SHUFFLED = ("null-shuffled", "traits-shuffled", "practices-strong-shuffled")
NUISANCE = ("null", "traits", "practices", "practices-strong", "calendar", "access", "referral")
ALIKE_PRACTICES = ("null", "traits", "calendar", "access", "base", "ageing", "change", *SHUFFLED[:2])
NOBODY_CHANGES = (*NUISANCE, "ageing", "base")
COUNTS = Path(__file__).with_name("error_rates.json")
PAGE = Path(__file__).parents[1] / "docs/error_rates.md"
BEFORE, NOW = "before", "now"


@dataclass(frozen=True)
class Statement:
    """A kind of statement."""

    rate: Rate
    """The section of the page of error rates under which it is listed."""
    name: str
    text: str
    """When the statement counts as made, and in which worlds it is false."""
    made: Callable[[Told], int]
    needs: str
    """The measured value without which a cohort is left out of the count."""
    false: tuple[str, ...]
    true: tuple[str, ...]
    of: str = ""
    """Name of the measured number of times that the statement could have been made in a cohort; empty: once."""

    def count(self, cohorts: Iterable[Told]) -> tuple[int, int]:
        """How often the statement was made, and how often it could have been."""
        asked = [told for told in cohorts if told.get(self.needs) is not None]
        return sum(int(self.made(told)) for told in asked), sum(told[self.of] if self.of else 1 for told in asked)


def any_of(name: str) -> Callable[[Told], int]:
    """Whether a count is above 0."""
    return lambda told: int(told[name] > 0)


NOTHING_PREDICTS = ("task-null", "tasks-null", "tasks-null-related")
ALIKE = ("task-equal", "tasks-equal", "tasks-equal-related")
SLOPED = (*ALIKE, "task-better", "task-worse")
SUBGROUPED = ("base", "base-2", "base-3", "base-4", "base-6", "ageing", "change")
STATEMENTS = (
    Statement(
        Rate.SUBGROUPS,
        "patients differ and conditions go together",
        "The verdict is “weak” or “clear”: patients differ persistently, and conditions go together within a disease, as with"
        " subgroups or with one gradient such as severity. This counts as false in worlds without subgroups; none of these has"
        " such a gradient. The verdict needs traits that go together (see below). That test needs no vectors, so it was measured"
        " on more cohorts; the verdict is given at most as often as that test passes.",
        lambda told: int(told["verdict"] in ("weak", "clear")),
        "verdict",
        NUISANCE,
        SUBGROUPED,
    ),
    Statement(
        Rate.SUBGROUPS,
        "patients clearly differ and conditions go together",
        "As above, with the verdict “clear”.",
        lambda told: int(told["verdict"] == "clear"),
        "verdict",
        NUISANCE,
        SUBGROUPED,
    ),
    Statement(
        Rate.SUBGROUPS,
        "patients differ persistently",
        "The page says that patients differ persistently. This is false where the vectors are shuffled. It is true in all"
        " other worlds, because their patients have diagnoses that are recorded for years.",
        lambda told: int(told["persistent"]),
        "persistent",
        SHUFFLED,
        (*NUISANCE, *SUBGROUPED),
    ),
    Statement(
        Rate.SUBGROUPS,
        "traits go together",
        "The test of traits (lasting conditions) finds that they are more strongly correlated in the patients of a"
        " disease than in similar patients. This counts as false in worlds without subgroups; none of these has a gradient within"
        " a disease. Where one gradient, such as severity, raises several conditions, the statement is true although there are"
        " no subgroups. How often the test then passes was measured once, without a script in this project: in 10 of 40 cohorts"
        " of 1,400 patients (with a steeper gradient in 21 of 40), in 15 of 20 cohorts of 4,000, and in 1 of 40 without a"
        " gradient. Where subgroups were planted, the test finds them more often if there are more patients. In these cohorts,"
        " nearly all patients have one of the five diseases. RESULTS.md (*Tests of traits*) has the results if half of the"
        " patients have none of them, and compares the test with others and with an oracle that knows the planted groups.",
        lambda told: int(told["together"]),
        "together",
        NUISANCE,
        SUBGROUPED,
    ),
    Statement(
        Rate.SUBGROUPS,
        "the records do not tell whether there are subgroups",
        "Traits do not go together, but the comparison cannot tell: conditions that are too rare in other patients to be compared"
        " depend on each other, or traits go together less than in other patients. Before, this was reported as “no evidence of"
        " subgroups”. The rate is that of the test, whether or not patients differ persistently. Where there are no subgroups,"
        " the answer is less informative than it could be, but not false. It is given in nearly all draws with groups whose"
        " conditions only patients of the disease have (*Subgroups by conditions of the disease alone* in RESULTS.md).",
        lambda told: told["subgroups untold"],
        "subgroups untold",
        NUISANCE,
        SUBGROUPED,
    ),
    Statement(
        Rate.SUBGROUPS,
        "conditions of the disease alone depend on each other",
        "Lasting conditions that are too rare in other patients to be compared are not independent among the patients of the"
        " disease. This counts as false in worlds without subgroups. In some of them, practices use codes of their own for one"
        " condition; the test compares patients of the same practice.",
        lambda told: told["own traits depend"],
        "own traits depend",
        NUISANCE,
        (),
    ),
    Statement(
        Rate.SUBGROUPS,
        "some conditions of the disease alone exclude each other",
        "As above, and some of these conditions occur together less often than by chance.",
        lambda told: told["own traits exclude"],
        "own traits exclude",
        NUISANCE,
        (),
    ),
    Statement(
        Rate.CLUSTER,
        "a cluster can be relied on",
        "At least one cluster is reliable. Because diagnoses last, this can be true even without planted groups. So it"
        " counts as false only where vectors are shuffled.",
        any_of("relied on"),
        "relied on",
        SHUFFLED,
        (*NUISANCE, *SUBGROUPED),
    ),
    Statement(
        Rate.MARKS,
        "marks",
        "At least one cluster has a mark (Benjamini-Hochberg value below 0.05). This is false where vectors are shuffled."
        " In all other worlds, diagnoses last for years, so patients in a cluster who share a diagnosis really do have it"
        " more often.",
        any_of("marks"),
        "marks",
        SHUFFLED,
        (*NUISANCE, *SUBGROUPED),
    ),
    Statement(
        Rate.MARKS,
        "marks that the planted groups would have",
        "The test of marks is first applied to the planted groups, as if they were clusters. Each mark that it finds is"
        " found again if a real cluster of the same planted group has it too. A cluster belongs to a group if this group is the"
        " most common one in it, or if it contains most of the group’s patients. The figure is the share of marks that are"
        " found again.",
        lambda told: told["of them found"],
        "of them found",
        (),
        tuple(kind for kind in SUBGROUPED if kind.startswith("base")),
        "marks of the true groups",
    ),
    Statement(
        Rate.MARKS,
        "a cluster is named by what it has less often",
        "The name of at least one cluster begins with “less often”. This is false for groups drawn at random, which do not"
        " differ. In *one-concept-less* and *one-concept-more*, only right names are counted: they give the planted concept, and"
        " are the name of the changed group if the concept is recorded less, or of another group if it is recorded more.",
        any_of("less often"),
        "less often",
        ("null-random-groups", "practices-strong-random-groups"),
        ("one-concept-less", "one-concept-more"),
    ),
    Statement(
        Rate.MARKS,
        "a name tells a wrong concept as less often",
        "As above, but at least one name gives a concept other than the planted one. This can happen because, if one concept is"
        " recorded more, the shares of all others in a record fall.",
        any_of("wrong"),
        "wrong",
        ("one-concept-less", "one-concept-more"),
        (),
    ),
    Statement(
        Rate.MARKS,
        "marks by occurrences",
        "At least one cluster has a mark by the published test, which counts how often a concept is recorded. Earlier"
        " versions of the page named clusters by this test. This is false where vectors are shuffled.",
        any_of("marks by occurrences"),
        "marks by occurrences",
        SHUFFLED,
        (*NUISANCE, *SUBGROUPED),
    ),
    Statement(
        Rate.MARKS,
        "marks by patients",
        "At least one cluster has a mark by a test that counts the patients who have a concept. This is false where"
        " vectors are shuffled.",
        any_of("marks by patients"),
        "marks by patients",
        SHUFFLED,
        (*NUISANCE, *SUBGROUPED),
    ),
    Statement(
        Rate.ONE_GROUP,
        "one first mark twice",
        "*Error: one kind of patient is reported twice.* Two reliable clusters (or groups of clusters) of the same"
        " disease have the same first mark, but are reported as separate groups. This is always false.",
        any_of("one first mark twice"),
        "one first mark twice",
        (*NUISANCE, *SUBGROUPED),
        (),
    ),
    Statement(
        Rate.ONE_GROUP,
        "one planted group twice",
        "*Error: one planted group is reported twice.* At least two reliable clusters (or groups of clusters) each draw"
        " more than half of their patients from the same planted group. This is always false. If unreliable clusters are"
        " included, it happened in 2 of the first 9 cohorts of `change` and 1 of the first 9 of `ageing` with 1,000"
        " patients, in 2 of 2 cohorts of `change` with 2,500 patients, and in no others. These were seven pairs of"
        " clusters. In three pairs, the clusters share fewer than half of their marks: one cluster, for example, also has"
        " type 2 diabetes, which lasts as long as the planted group and is unrelated to it. Keeping such clusters apart is"
        " not an error. In the other four pairs, a group’s young patients, most of whom have atopic dermatitis, are"
        " reported as a separate group from its older patients, who have any of the diseases.",
        any_of("one planted group twice"),
        "one planted group twice",
        SUBGROUPED,
        (),
    ),
    Statement(
        Rate.ONE_GROUP,
        "one planted group over-represented twice",
        "*Not an error.* The same planted group is over-represented in at least two reliable clusters (or groups of"
        " clusters): it is more frequent there than among all patients of the same diseases (p below 0.05, corrected for"
        " all pairs of a planted group and a cluster). A group that depends on age, as in `ageing`, is over-represented in"
        " every cluster of patients of that age. So the figure shows how often planted groups are spread over several"
        " clusters.",
        any_of("one planted group over-represented twice"),
        "one planted group over-represented twice",
        (),
        SUBGROUPED,
    ),
    Statement(
        Rate.ONE_GROUP,
        "one planted group most common twice",
        "*Not an error.* The same planted group is the most common one in at least two reliable clusters (or groups of"
        " clusters), however small its share of their patients. Earlier versions of this page reported this figure as “one"
        " planted group twice”. In `change`, each patient is assigned to one of four groups at random, whatever the"
        " disease. One of the four is therefore the most common even in a cluster of an unrelated diagnosis, such as"
        " asthma. Of any five such clusters, at least two have the same most common group.",
        any_of("one planted group most common twice"),
        "one planted group most common twice",
        (),
        SUBGROUPED,
    ),
    Statement(
        Rate.CHANGE,
        "a change over time",
        "The page reports that more patients move from one cluster to another than expected (*before*: than move back). This is"
        " false where patients only grow older and none changes group.",
        any_of("changes"),
        "changes",
        NOBODY_CHANGES,
        ("change",),
    ),
    Statement(
        Rate.CHANGE,
        "a change that was not planted",
        "In a world with planted changes, the page reports at least one other change. This is always false.",
        any_of("changes that were not planted"),
        "changes that were not planted",
        ("change",),
        (),
    ),
    Statement(
        Rate.CHANGE,
        "each planted change",
        "The figure is the share of the two planted changes (from one group to another) that the page reports.",
        lambda told: told["planted ways told"],
        "planted ways told",
        (),
        ("change",),
        "planted ways",
    ),
    Statement(
        Rate.AUDIT,
        "the clusters go with an attribute",
        "The figure is how many of three attributes (practice, region, ethnicity) are reported to be associated with the"
        " clusters, beyond chance. Each is tested at 5 %. Region and ethnicity depend only on the practice, so the"
        " statement is false where all practices record in the same way. The world practices-strong-shuffled is left out: even"
        " shuffled vectors depend on the amount of record, which depends on the practice there.",
        lambda told: told["attributes told"],
        "attributes told",
        ALIKE_PRACTICES,
        (),
        "attributes",
    ),
    Statement(
        Rate.AUDIT,
        "a warning of an attribute",
        "As above, but only if the association is medium or strong, so that the first paragraph of the page warns of the"
        " attribute.",
        lambda told: told["attributes warned of"],
        "attributes warned of",
        ALIKE_PRACTICES,
        (),
        "attributes",
    ),
    Statement(
        Rate.AUDIT,
        "the clusters go with practice",
        "The page reports that practice is associated with the clusters, beyond chance. This is true where practices"
        " record differently and the clusters reflect the difference.",
        any_of("practice told"),
        "practice told",
        (),
        ("practices", "practices-strong", "referral"),
    ),
    Statement(
        Rate.AUDIT,
        "a cluster comes from other practices",
        "At least one cluster is said to take its patients from other practices than the rest. This is false where all practices"
        " record in the same way. It is true where practices record differently, provided that a cluster reflects the difference.",
        any_of("of some practices"),
        "of some practices",
        ("null",),
        ("practices-strong", "sites"),
    ),
    Statement(
        Rate.AUDIT,
        "a day of the year stands out",
        "The page reports one day of the year on which at least 2 % of all events are dated. This is true where two of the 24"
        " practices date everything on 1 January.",
        any_of("day"),
        "day",
        ("null", "practices-strong", "sites"),
        ("two-practices-on-1-January",),
    ),
    Statement(
        Rate.NEIGHBOURS,
        "neighbours are recorded together",
        "The page reports that neighbouring concepts are recorded together more often than by chance (p below 0.05,"
        " interval of the ratio above 1), in visits of cohort patients that the encoder was not trained on. There is one"
        " encoder for each world.",
        any_of("neighbours told"),
        "neighbours told",
        (),
        (*NUISANCE, *SUBGROUPED),
    ),
    Statement(
        Rate.NEIGHBOURS,
        "random neighbours are recorded together",
        "As above, with random concepts in place of the neighbours. This is always false.",
        any_of("random neighbours told"),
        "random neighbours told",
        (*NUISANCE, *SUBGROUPED),
        (),
    ),
    Statement(
        Rate.PREDICTIONS,
        "the model is better",
        "The verdict of a task is that the model is “better” than the best baseline. This is false where the best model"
        " is as good as the best baseline, or worse. In `tasks-mixed`, only tasks in which both are equally good are"
        " counted.",
        lambda told: told["better"],
        "better",
        (*NOTHING_PREDICTS, *ALIKE, "tasks-mixed", "task-worse"),
        ("task-better",),
        "tasks compared",
    ),
    Statement(
        Rate.PREDICTIONS,
        "the model is worse",
        "The verdict of a task is that the model is “worse”. This is false where the best model is as good as the best"
        " baseline, or better.",
        lambda told: told["worse"],
        "worse",
        (*NOTHING_PREDICTS, *ALIKE, "tasks-mixed", "task-better"),
        ("task-worse",),
        "tasks compared",
    ),
    Statement(
        Rate.PREDICTIONS,
        "the task does not need the model",
        "The page says that one of the two rules of thumb reaches 95 % of the model’s gain over chance and, with 95 % confidence,"
        " at least 80 %. (*Before*, the page gave only the first figure.) The true share is 80 % for both rules in `task-rule-80`,"
        " 100 % for one of them in `task-rule-100`, 58 % in `task-equal` and `tasks-equal`, and 52 % in `task-better`."
        " RESULTS.md (*Which rule of thumb"
        " decides*) has fitted models.",
        lambda told: told["not needed"],
        "not needed",
        (*ALIKE, "task-better", "task-rule-80"),
        ("task-rule-100",),
        "tasks",
    ),
    Statement(
        Rate.PREDICTIONS,
        "the rule of thumb reaches 90 %",
        "The page makes the statement above in a world in which one rule of thumb reaches 90 %. The estimate of 95 % is"
        " then a little too high, but “at least 80 %”, which the page says with confidence, is right. So *now* this is not"
        " an error.",
        lambda told: told["not needed"],
        "not needed",
        (),
        ("task-rule-90",),
        "tasks",
    ),
    Statement(
        Rate.PREDICTIONS,
        "the model predicts better than chance",
        "The page does not say that the task is “at chance”. The statement is false where nothing predicts the outcome.",
        lambda told: told["above chance"],
        "above chance",
        NOTHING_PREDICTS,
        (*ALIKE, "task-better", "task-worse"),
        "tasks",
    ),
    Statement(
        Rate.PREDICTIONS,
        "first sentence: better than counting",
        "The first sentence says that with 100 labels, the model is as good as counting with a larger number of labels, or better.",
        lambda told: told["head better"],
        "head better",
        (*NOTHING_PREDICTS, *ALIKE, "task-worse"),
        ("task-better", "tasks-better", "tasks-better-related"),
    ),
    Statement(
        Rate.PREDICTIONS,
        "first sentence: worse than counting",
        "The first sentence says that with 100 labels, the model is worse than counting with as many.",
        lambda told: told["head worse"],
        "head worse",
        (*NOTHING_PREDICTS, *ALIKE, "task-better"),
        ("task-worse",),
    ),
    Statement(
        Rate.PREDICTIONS,
        "first sentence: better than counting with all labels",
        "The first sentence says that the model with 100 labels is better than counting with all labels. This is false"
        " everywhere. In `task-better`, counting with all labels (AUROC 0.718) is a little better than the model with 100"
        " (0.714).",
        lambda told: told["head more than all"],
        "head more than all",
        (*NOTHING_PREDICTS, *ALIKE, "task-better", "task-worse"),
        (),
    ),
    Statement(
        Rate.PREDICTIONS,
        "first sentence: the interval misses",
        "The page says how many labels counting would need to be as good as the model, with a 95 % interval. The figure is how"
        " often this interval misses the true number, over all studies, including those in which the first sentence does not"
        " show it.",
        lambda told: told["any interval misses"],
        "any interval misses",
        (*ALIKE, "tasks-mixed", "task-better", "tasks-better", "tasks-better-related", "task-no-labels"),
        (),
    ),
    Statement(
        Rate.PREDICTIONS,
        "first sentence: the interval that is given misses",
        "As above, but only in studies in which the first sentence shows the interval, because it says that the model is"
        " better. The usual interval (*before*, at commit 1ad7278) misses far more often than 5 %. The reason is that an"
        " advantage that is small for the number of cases is found only when chance adds to it. The interval *now* allows"
        " for this selection (Zhong and Prentice 2008). If it then includes fewer labels than the model has, the sentence"
        " shows the interval, but no single number.",
        lambda told: told["head interval misses"],
        "head interval misses",
        (*ALIKE, "tasks-mixed", "task-better", "tasks-better", "tasks-better-related", "task-no-labels"),
        (),
    ),
    Statement(
        Rate.PREDICTIONS,
        "without a label: better than chance",
        "The page says that the model without a label is better than chance. This is false where nothing predicts the"
        " outcome.",
        lambda told: told["without labels beyond chance"],
        "without labels beyond chance",
        NOTHING_PREDICTS,
        (*ALIKE, "task-better"),
    ),
    Statement(
        Rate.PREDICTIONS,
        "without a label: better than counting with all labels",
        "The page says that the model without a label is better than counting with all labels. This is false everywhere:"
        " in `task-no-labels` both are equally good, elsewhere counting is better.",
        lambda told: told["without labels better than all"],
        "without labels better than all",
        (*NOTHING_PREDICTS, *ALIKE, "task-no-labels"),
        (),
    ),
    Statement(
        Rate.PREDICTIONS,
        "without a label: the interval misses",
        "The 95 % interval of the number of labels that the model without a label is worth misses the true number. The"
        " interval lies a little too low, because it compares one model with the best of several ways of counting.",
        lambda told: told["without labels misses"],
        "without labels misses",
        (*ALIKE, "tasks-mixed", "task-better", "tasks-better", "tasks-better-related", "task-no-labels"),
        (),
    ),
    Statement(
        Rate.PREDICTIONS,
        "the interval of a calibration slope misses",
        "The 95 % interval of the chosen model’s calibration slope, after recalibration, misses the true slope."
        " Recalibration is learned from about 60 cases, so the true slope is seldom 1.",
        lambda told: told["slope misses"],
        "slope misses",
        SLOPED,
        (),
        "slopes",
    ),
    Statement(
        Rate.PREDICTIONS,
        "predictions are too extreme, or too cautious",
        "The page says “too extreme” if the whole interval of the slope lies below 1, and “too cautious” if it lies"
        " above. This counts as false if the true slope is on the other side of 1.",
        lambda told: told["slopes wrongly said"],
        "slopes wrongly said",
        SLOPED,
        (),
        "slopes",
    ),
    Statement(
        Rate.PREDICTIONS,
        "predictions are too extreme, or too cautious: all",
        "How often the page says “too extreme” or “too cautious”, rightly or wrongly.",
        lambda told: told["slopes said to be wrong"],
        "slopes said to be wrong",
        (),
        SLOPED,
        "slopes",
    ),
    Statement(
        Rate.PREDICTIONS,
        "permuted labels are predicted",
        "The check that permuted labels cannot be predicted raises an alarm, and blocks the results. Each such alarm is false: in"
        " this world, recorded concepts have nothing to do with the outcome.",
        lambda told: told["permuted labels"],
        "permuted labels",
        ("concepts-null",),
        (),
    ),
    Statement(
        Rate.PREDICTIONS,
        "a concept decides the outcome",
        "The guard lists a concept after which the outcome always, nearly always or never follows. In each world, 200 concepts are"
        " unrelated to the outcome. In `concepts-strong` and `concepts-leak`, one more concept, in 15 to 150 histories of the"
        " training set, is related to it. After this concept, the outcome follows in 70 % of the histories of `concepts-strong`,"
        " which is not enough for the guard, and in 97 % of those of `concepts-leak`.",
        lambda told: told["deciding concepts"],
        "deciding concepts",
        ("concepts-null", "concepts-strong"),
        ("concepts-leak",),
    ),
    Statement(
        Rate.PREDICTIONS,
        "an outcome has no case in some years",
        "The guard finds calendar years of the index date without a case, as if the code of the outcome had not been in use. The"
        " figure is the number of tasks. In `years-null`, all codes are in use in all years; each study has 20 tasks, whose index"
        " dates are visits drawn at random. In `years-midway`, the code of each task comes into use on its median index date.",
        lambda told: told["years without cases"],
        "years without cases",
        ("years-null",),
        ("years-midway",),
        "tasks with years",
    ),
)


OF_GUARDS = (
    "permuted labels are predicted",
    "a concept decides the outcome",
    "an outcome has no case in some years",
)


def script(statement: Statement) -> str:
    """The script that measures how often a statement is made."""
    if statement.name in OF_GUARDS:
        return "guard_rates.py"
    return "verdicts.py" if statement.rate == Rate.PREDICTIONS else "error_rates.py"


def counted(work: Path, name: str) -> dict[str, Any]:
    """Counts over all cohorts measured under a name, by statement, kind of world and cohort size."""
    measured: dict[str, dict[str, list[Told]]] = {}
    commits: set[str] = set()
    for path in sorted(work.glob(f"*/*/*/{name}.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        commits |= {value for key, value in told.items() if key.startswith("commit")}
        measured.setdefault(path.parts[-4], {}).setdefault(path.parts[-3], []).append(told)
    counts: dict[str, Any] = {}
    for statement in STATEMENTS:
        for kind, sizes in measured.items():
            for size, cohorts in sizes.items():
                made, asked = statement.count(cohorts)
                if asked:
                    counts.setdefault(statement.name, {}).setdefault(kind, {})[size] = [made, asked]
    return {"commits": sorted(commits), "counts": counts}


def keep(name: str, counts: dict[str, Any], only: Iterable[str] = ()) -> dict[str, Any]:
    """Add counts to the file of all counts, and return what the file holds.

    Counts of the same statement, world and size are replaced; all others stay. `only`: the statements to take; empty for all.
    """
    told = json.loads(COUNTS.read_text(encoding="utf-8")) if COUNTS.is_file() else {}
    old = told.get(name, {"commits": [], "counts": {}})
    chosen = set(only) or set(counts["counts"])
    for statement in chosen:
        for kind, sizes in counts["counts"][statement].items():
            old["counts"].setdefault(statement, {}).setdefault(kind, {}).update(sizes)
    commits = sorted({*old["commits"], *counts["commits"]})
    told[name] = counts | {"commits": commits, "counts": old["counts"]}
    COUNTS.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return dict(told)


def interval(made: int, asked: int) -> str:
    """A share with its 95 % interval (Clopper and Pearson 1934), as text."""
    if not asked:
        return ""
    low, high = binomtest(made, asked).proportion_ci(method="exact")
    return f"{made} of {asked}: {100 * made / asked:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


Counts = Mapping[str, Mapping[str, Mapping[str, tuple[int, int]]]]
"""By statement, kind of world and cohort size: the number of cohorts in which it was made, and the number of all cohorts."""


def pooled(counts: Counts, statement: Statement, kinds: Iterable[str], size: str) -> tuple[int, int]:
    """Sum over kinds of world."""
    own = [counts.get(statement.name, {}).get(kind, {}).get(size, (0, 0)) for kind in kinds]
    return sum(made for made, _ in own), sum(asked for _, asked in own)


def sizes(told: Mapping[str, Any]) -> list[str]:
    """All sizes of cohorts that were measured."""
    found = {
        size for state in told.values() for kinds in state["counts"].values() for own in kinds.values() for size in own
    }
    return sorted(found, key=int)


def rows(told: Mapping[str, Any], statement: Statement, false: bool) -> list[tuple[str, ...]]:
    """Rows of a statement's table: for each cohort size, all worlds pooled, then each world where it is false (or true)."""
    kinds, table = statement.false if false else statement.true, []
    states = [told[name]["counts"] if name in told else {} for name in (BEFORE, NOW)]
    for size in sizes(told):
        groups = {"all of them": kinds, **{kind: (kind,) for kind in kinds}}
        for name, own in groups.items():
            cells = [interval(*pooled(counts, statement, own, size)) for counts in states]
            if any(cells) and not (name == "all of them" and len(kinds) < 2):
                table.append((name, f"{int(size):,}", *cells))
    return table


def page(told: Mapping[str, Any], facts: str) -> str:
    """The page of error rates."""
    text = [f"# Error rates\n\n{facts}\n\n{commits(told)}"]
    head = ("World", "Patients in a cohort", "Before", "Now")
    for rate in Rate:
        mine = [statement for statement in STATEMENTS if statement.rate == rate]
        if rate != Rate.DESCRIPTION:
            text.append(f"## {rate.value}" + ("" if mine else "\n\nNot measured."))
        for statement in mine:
            text.append(f"### {statement.name}\n\n{statement.text}")
            tables = [rows(told, statement, false) for false in (True, False)]
            if not any(tables):
                text.append("Not measured.")
            for false, table in zip((True, False), tables, strict=True):
                if table:
                    text.append(f"Where the statement is {'false' if false else 'true'}:\n\n{markdown(head, table)}")
    return "\n\n".join(text) + "\n"


def commits(told: Mapping[str, Any]) -> str:
    """A paragraph naming the commits at which *before* and *now* were measured."""
    named = [f"*{name}* at commit {', '.join(told[name]['commits'])}" for name in (BEFORE, NOW) if name in told]
    notes = [told[name].get("note", "") for name in (BEFORE, NOW) if name in told]
    return " ".join([f"Measured: {'; '.join(named)}.", *filter(None, notes)])


def section(told: Mapping[str, Any], measured: str, only: Collection[str] = ()) -> str:
    """A section on error rates for RESULTS.md: of the statements that a script measures, with all worlds pooled."""
    table = []
    for statement in (each for each in STATEMENTS if script(each) == measured):
        if only and statement.name not in only:
            continue
        for false, kinds in ((True, statement.false), (False, statement.true)):
            for size in sizes(told):
                states = [told[name]["counts"] if name in told else {} for name in (BEFORE, NOW)]
                cells = [interval(*pooled(counts, statement, kinds, size)) for counts in states]
                if any(cells):
                    table.append((statement.name, "false" if false else "true", f"{int(size):,}", *cells))
    head = ("Statement", "Where it is", "Patients in a cohort", "Before", "Now")
    return (
        "Share of cohorts in which a statement is made, pooled over all worlds where it is false, and over all where it is true,"
        " with 95 % intervals (Clopper and Pearson). For each world separately: [docs/error_rates.md](../docs/error_rates.md)."
        f" {commits(told)}\n\n" + markdown(head, table)
    )
