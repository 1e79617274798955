"""Kinds of statements of the page, where each is false and where it is true, and how often `error_rates.py` saw it made."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results import table as markdown
from scipy.stats import binomtest

from ehr_pipeline.reports.statements.statement import Rate

Told = Mapping[str, Any]
"""What was measured of one cohort; see `error_rates.said`."""
SHUFFLED = ("null-shuffled", "traits-shuffled", "practices-strong-shuffled")
NUISANCE = ("null", "traits", "practices", "practices-strong", "calendar", "access", "referral")
ALIKE_PRACTICES = ("null", "traits", "calendar", "access", "base", "ageing", "change")
NOBODY_CHANGES = (*NUISANCE, "ageing", "base")
COUNTS = Path(__file__).with_name("error_rates.json")
PAGE = Path(__file__).parents[1] / "docs/error_rates.md"
BEFORE, NOW = "before", "now"


@dataclass(frozen=True)
class Statement:
    """A kind of statement."""

    rate: Rate
    """Its row in the page's own list: the heading of its section."""
    name: str
    text: str
    """What counts as said, and where that is false."""
    made: Callable[[Told], int]
    needs: str
    """The measured value without which it was not asked."""
    false: tuple[str, ...]
    true: tuple[str, ...]
    of: str = ""
    """The measured number of times that it could have been made in a cohort; empty for once."""

    def count(self, cohorts: Iterable[Told]) -> tuple[int, int]:
        """How often it was made, and how often it could have been."""
        asked = [told for told in cohorts if told.get(self.needs) is not None]
        return sum(int(self.made(told)) for told in asked), sum(told[self.of] if self.of else 1 for told in asked)


def any_of(name: str) -> Callable[[Told], int]:
    """Whether a count is above 0."""
    return lambda told: int(told[name] > 0)


SUBGROUPED = ("base", "base-2", "base-3", "base-4", "base-6", "ageing", "change")
STATEMENTS = (
    Statement(
        Rate.SUBGROUPS,
        "evidence of subgroups",
        "“Weak” or “clear evidence of subgroups”. False where no subgroup was planted.",
        lambda told: int(told["verdict"] in ("weak", "clear")),
        "verdict",
        NUISANCE,
        SUBGROUPED,
    ),
    Statement(
        Rate.SUBGROUPS,
        "clear evidence of subgroups",
        "The same, where the evidence is clear.",
        lambda told: int(told["verdict"] == "clear"),
        "verdict",
        NUISANCE,
        SUBGROUPED,
    ),
    Statement(
        Rate.SUBGROUPS,
        "patients differ persistently",
        "False where vectors are shuffled. Elsewhere patients have diagnoses that are recorded for years.",
        lambda told: int(told["persistent"]),
        "persistent",
        SHUFFLED,
        (*NUISANCE, *SUBGROUPED),
    ),
    Statement(
        Rate.SUBGROUPS,
        "traits go together",
        "False where no subgroup was planted.",
        lambda told: int(told["together"]),
        "together",
        NUISANCE,
        SUBGROUPED,
    ),
    Statement(
        Rate.CLUSTER,
        "a cluster can be relied on",
        "At least one cluster is stable, and its evidence clear. It may be true without planted groups, since diagnoses last;"
        " so it counts as false only where vectors are shuffled.",
        any_of("relied on"),
        "relied on",
        SHUFFLED,
        (*NUISANCE, *SUBGROUPED),
    ),
    Statement(
        Rate.MARKS,
        "marks",
        "At least one concept marks a cluster beyond disease, age, sex and amount of record (Benjamini-Hochberg value below 0.05)."
        " False where vectors are shuffled. Elsewhere patients have diagnoses for years, so that a cluster of those with one of"
        " them really has more of it.",
        any_of("marks"),
        "marks",
        SHUFFLED,
        (*NUISANCE, *SUBGROUPED),
    ),
    Statement(
        Rate.MARKS,
        "marks that the planted groups would have",
        "Of the marks that the same test finds when it is given the planted groups in place of clusters: how many mark a"
        " cluster in which that group is the most common one, or the cluster that most of its patients are in.",
        lambda told: told["of them found"],
        "of them found",
        (),
        tuple(kind for kind in SUBGROUPED if kind.startswith("base")),
        "marks of the true groups",
    ),
    Statement(
        Rate.MARKS,
        "marks by occurrences",
        "The same by the published test of occurrences, by which the page named clusters before.",
        any_of("marks by occurrences"),
        "marks by occurrences",
        SHUFFLED,
        (*NUISANCE, *SUBGROUPED),
    ),
    Statement(
        Rate.MARKS,
        "marks by patients",
        "The same by the test of how many patients have a concept.",
        any_of("marks by patients"),
        "marks by patients",
        SHUFFLED,
        (*NUISANCE, *SUBGROUPED),
    ),
    Statement(
        Rate.ONE_GROUP,
        "one first mark twice",
        "Two clusters that can be relied on, of one disease, have the same first mark, and are told as two. False everywhere.",
        any_of("one first mark twice"),
        "one first mark twice",
        (*NUISANCE, *SUBGROUPED),
        (),
    ),
    Statement(
        Rate.ONE_GROUP,
        "one planted group twice",
        "In two clusters that can be relied on, or groups of them, more than half of the patients are of one planted group. False"
        " everywhere. (Of all clusters in the list, also those that cannot be relied on, two held one planted group in 2 of 9"
        " cohorts of `change` and 1 of 9 of `ageing`, of 1,000 patients; in 2 of 2 of `change`, of 2,500; in none of the others."
        " Of these seven pairs, three share fewer than half of their marks: in one part, patients have type 2 diabetes too, say,"
        " which lasts as well and has nothing to do with the group. That is not false. In the other four, the young patients of a"
        " group, most of whom have atopic dermatitis, are told as another group than the older ones, who have any disease.)",
        any_of("one planted group twice"),
        "one planted group twice",
        SUBGROUPED,
        (),
    ),
    Statement(
        Rate.ONE_GROUP,
        "one planted group over-represented twice",
        "In two of them, one planted group is more frequent than among all patients of the same diseases, beyond chance (p below"
        " 0.05 over all pairs of the two). It is no error: a group that goes with age, as in `ageing`, is more frequent in every"
        " cluster of patients of that age. It counts how often planted groups are spread over several clusters.",
        any_of("one planted group over-represented twice"),
        "one planted group over-represented twice",
        (),
        SUBGROUPED,
    ),
    Statement(
        Rate.ONE_GROUP,
        "one planted group most common twice",
        "In two of them, one planted group is the most common one, however few of the patients it has: the measure of earlier"
        " versions of this page, under the name of “one planted group twice”. It is no error. In `change`, each patient of any"
        " disease is dealt to one of four groups at random, so that one of them is the most common in every cluster of a diagnosis"
        " that has nothing to do with them, such as asthma or type 2 diabetes, and of five such clusters two always have the same.",
        any_of("one planted group most common twice"),
        "one planted group most common twice",
        (),
        SUBGROUPED,
    ),
    Statement(
        Rate.CHANGE,
        "a change over time",
        "More patients move from one cluster to another than back. False where nobody changes group: patients only grow older.",
        any_of("changes"),
        "changes",
        NOBODY_CHANGES,
        ("change",),
    ),
    Statement(
        Rate.CHANGE,
        "a change that was not planted",
        "At least one of the changes told is none of the planted ones. False where others are planted.",
        any_of("changes that were not planted"),
        "changes that were not planted",
        ("change",),
        (),
    ),
    Statement(
        Rate.CHANGE,
        "each planted change",
        "Of the two planted ways from group to group, those that are told.",
        lambda told: told["planted ways told"],
        "planted ways told",
        (),
        ("change",),
        "planted ways",
    ),
    Statement(
        Rate.AUDIT,
        "the clusters go with an attribute",
        "Of practice, and of region and ethnicity, which depend on nothing but the practice: how many are said to go with the"
        " clusters, beyond chance. False where practices record alike.",
        lambda told: told["attributes told"],
        "attributes told",
        ALIKE_PRACTICES,
        (),
        "attributes",
    ),
    Statement(
        Rate.AUDIT,
        "a warning of an attribute",
        "The same, where the effect is medium or large, so that the first paragraph warns of it.",
        lambda told: told["attributes warned of"],
        "attributes warned of",
        ALIKE_PRACTICES,
        (),
        "attributes",
    ),
    Statement(
        Rate.AUDIT,
        "the clusters go with practice",
        "Beyond chance. True where practices record differently, if the clusters follow that.",
        any_of("practice told"),
        "practice told",
        (),
        ("practices", "practices-strong", "referral"),
    ),
    Statement(
        Rate.NEIGHBOURS,
        "neighbours are recorded together",
        "In visits of the cohort, of which the encoder has seen nothing, beyond chance (p below 0.05, and an interval above 1)."
        " One encoder in each world.",
        any_of("neighbours told"),
        "neighbours told",
        (),
        (*NUISANCE, *SUBGROUPED),
    ),
    Statement(
        Rate.NEIGHBOURS,
        "random neighbours are recorded together",
        "The same of concepts drawn at random in place of the neighbours: false everywhere.",
        any_of("random neighbours told"),
        "random neighbours told",
        (*NUISANCE, *SUBGROUPED),
        (),
    ),
)


def counted(work: Path, name: str) -> dict[str, Any]:
    """Counts of all cohorts that were measured under a name: statement, kind of world and size."""
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
"""By statement, kind of world and size of cohorts: in how many it was made, and of how many."""


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
    """Rows of a statement's table: worlds where it is false, or where it is true, by size; all of them pooled first."""
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
    text = [f"# Error rates\n\n{facts} {commits(told)}"]
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
                    text.append(f"Said where it is {'false' if false else 'true'}:\n\n{markdown(head, table)}")
    return "\n\n".join(text) + "\n"


def commits(told: Mapping[str, Any]) -> str:
    """The commits at which both states were measured, as a sentence."""
    named = [f"*{name}* at commit {', '.join(told[name]['commits'])}" for name in (BEFORE, NOW) if name in told]
    notes = [told[name].get("note", "") for name in (BEFORE, NOW) if name in told]
    return " ".join([f"Measured: {'; '.join(named)}.", *filter(None, notes)])


def section(told: Mapping[str, Any]) -> str:
    """The part of it for RESULTS.md: all worlds pooled."""
    table = []
    for statement in STATEMENTS:
        for false, kinds in ((True, statement.false), (False, statement.true)):
            for size in sizes(told):
                states = [told[name]["counts"] if name in told else {} for name in (BEFORE, NOW)]
                cells = [interval(*pooled(counts, statement, kinds, size)) for counts in states]
                if any(cells):
                    table.append((statement.name, "false" if false else "true", f"{int(size):,}", *cells))
    head = ("Statement", "Where it is", "Patients in a cohort", "Before", "Now")
    return (
        "Share of cohorts in which a statement is made, all worlds pooled where it is false or true, with 95 % intervals (Clopper"
        f" and Pearson); each world by itself: [docs/error_rates.md](../docs/error_rates.md). {commits(told)}\n\n"
        + markdown(head, table)
    )
