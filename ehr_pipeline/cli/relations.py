"""The command `relations`: list the concepts that occur together with a disease, and those that come after it."""

import argparse
import re
from typing import TYPE_CHECKING, Any

from ehr_pipeline.cli.common import study_of
from ehr_pipeline.cli.parsing import Commands, add_command
from ehr_pipeline.errors import InputError, printable
from ehr_pipeline.tables.asset_names import CONCEPT_RELATIONS, DATA_SPLIT, MAPPED_EVENTS, VOCABULARY

if TYPE_CHECKING:
    from ehr_pipeline.reports.disease_partners import Partner
    from ehr_pipeline.runs.pipeline import Pipeline
    from ehr_pipeline.study.settings import Study

DAYS = {"d": 1, "m": 365 / 12, "y": 365}

NOT_COMPARED = "not compared: either [relations] leaves it out, or it is counted as one with another concept"


def add(commands: "Commands[Any]") -> None:
    """Add the command."""
    command = add_command(
        commands,
        "relations",
        _relations,
        "list the concepts that occur together with a disease, or that follow it",
        'relations "psoriatic arthritis" --after 2y --settings my_study.toml',
    )
    command.add_argument("name", help="a concept id, or words from the name of a concept")
    command.add_argument(
        "--after",
        metavar="TIME",
        help="only concepts recorded after it within this time, such as 2y, 18m or 90d (without a value:"
        " relations.after_days)",
    )


def days(text: str) -> int:
    """Read a time in days ('2y', '18m', '90d'). Raises InputError for any other text."""
    found = re.fullmatch(r"([0-9]+)\s*([dmy])", text.strip().lower())
    if not found:
        raise InputError(f"--after {printable(text)}: write a number with d, m or y, such as 2y.")
    return round(int(found[1]) * DAYS[found[2]])


def _relations(options: argparse.Namespace) -> int:
    from ehr_pipeline.disclosure.figures import Naming
    from ehr_pipeline.disclosure.suppression import Disclosure
    from ehr_pipeline.relations import table
    from ehr_pipeline.reports import disease_partners
    from ehr_pipeline.runs.pipeline import Pipeline
    from ehr_pipeline.vocabulary.table import Vocabulary

    study = study_of(options)
    pipeline = Pipeline(study)
    made, split = pipeline.require(CONCEPT_RELATIONS), pipeline.require(DATA_SPLIT)
    within = int(made.manifest["settings"]["after_days"])
    if options.after and days(options.after) != within:
        raise InputError(
            f"concept_relations was built for {within} days. Set relations.after_days = {days(options.after)}, and rebuild it:"
            " ehr-pipeline run --select concept_relations"
        )
    disclosure = Disclosure(study.reports.suppress_below)
    naming = Naming(disclosure.below, split.manifest["settings"]["key"])
    vocabulary, whole = Vocabulary.read(pipeline.require(VOCABULARY).path), int(made.counts["patients"])
    named = vocabulary.nameable(naming)
    names = {one.concept: one.name for one in vocabulary.concepts if one.concept in named}
    found = _matching_concepts(options.name, names, study, pipeline)
    rows, in_order = (
        disease_partners.shown_edges(read(made.path), named, naming, whole)
        for read in (table.read_consensus, table.read_orders)
    )
    compared = table.compared(made.path)
    for concept in found:
        if concept not in compared:
            print(f"{printable(names[concept])}\n  {NOT_COMPARED}")
            continue
        listed, following = (disease_partners.partners(concept, pairs, disclosure, whole) for pairs in (rows, in_order))
        print("\n".join(lines(names[concept], listed, following, within, after=bool(options.after))))
    return 0


def _matching_concepts(typed: str, names: dict[str, str], study: "Study", pipeline: "Pipeline") -> list[str]:
    """Return the concepts that match the typed text: compared first with ids and full names, then with words of names, and last
    with other names of the concepts' codes.

    Raises InputError, listing similar names, if nothing matches.
    """
    from ehr_pipeline.planning import finding_codes
    from ehr_pipeline.vocabulary.names import nearest, with_all_words

    if not typed.strip():
        raise InputError("No concept was given. Give part of its name, for example: ehr-pipeline relations asthma")
    exact = [concept for concept, name in names.items() if typed.strip().lower() in (concept.lower(), name.lower())]
    if exact:
        return exact
    if by_words := with_all_words(typed, names.values()):
        return [concept for concept, name in names.items() if name in set(by_words)]
    called = finding_codes.concepts_called(typed, study, pipeline.require(MAPPED_EVENTS))
    if found := [concept for concept in names if concept in called]:
        return found
    near = nearest(typed, names.values())
    hint = f" Similar names: {printable('; '.join(near))}." if near else ""
    raise InputError(f"No concept that may be shown is called {printable(typed)}.{hint}")


def lines(
    name: str, listed: "list[Partner]", in_order: "list[Partner]", within: int, *, after: bool = False
) -> list[str]:
    """Return the lines to print for one concept: its partners, and the concepts that only follow or precede it (`in_order`); with
    `after`, only concepts recorded later."""
    said = [printable(name)]
    shown, following = ([one for one in pairs if not after or one.order == "later"] for pairs in (listed, in_order))
    for one in shown:
        text = f"  {printable(one.name)}: {one.patients} patients with both, odds ratio {one.odds_ratio}"
        said.append(f"{text}; {_in_order(one, within)}" if one.order else text)
    for one in following:
        figures = f"{one.patients} patients with both, odds ratio {one.odds_ratio}"
        said.append(f"  {printable(one.name)}: {_in_order(one, within)}; not shown to go together: {figures}")
    if after and listed and len(said) == 1:
        number = f"{len(listed)} concept{'s occur' if len(listed) > 1 else ' occurs'}"
        said.append(f"  nothing is shown to be recorded later; {number} with it: leave out --after")
    return said if len(said) > 1 else [*said, "  nothing that can be shown"]


def _in_order(one: "Partner", within: int) -> str:
    from ehr_pipeline.disclosure.figures import HIDDEN

    risk = (
        "too few cases for a relative risk" if one.risk == HIDDEN else f"relative risk within {within} days {one.risk}"
    )
    return f"recorded {one.order}, {risk}"
