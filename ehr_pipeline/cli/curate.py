"""The command `curate`: extend a concept list by similar concepts that a reviewer accepted."""

import argparse
from pathlib import Path
from typing import Any

from ehr_pipeline.cli.common import study_of
from ehr_pipeline.cli.parsing import Commands, add_command
from ehr_pipeline.errors import InputError, printable
from ehr_pipeline.tables.asset_names import CONCEPT_EMBEDDINGS, DATA_SPLIT, MAPPED_EVENTS, VOCABULARY


def add(commands: "Commands[Any]") -> None:
    """Add the command."""
    command = add_command(
        commands,
        "curate",
        _curate,
        "extend a concept list with similar concepts, each accepted by a person",
        "curate lists/symptoms.csv --offer review.csv --settings my_study.toml",
        "curate lists/symptoms.csv --review review.csv --out lists/symptoms_reviewed.csv --settings my_study.toml",
        about="--offer writes the nearest neighbours of the listed concepts that no --review has decided yet. Fill in the columns"
        " decision (accept or refuse), reviewer and date. --out writes the list with the accepted concepts.",
    )
    command.add_argument("list", type=Path, metavar="LIST", help="a concept list (code, cui, name, source)")
    command.add_argument(
        "--offer", type=Path, metavar="FILE", help="new CSV file: similar concepts to accept or refuse"
    )
    command.add_argument(
        "--review",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="the file from --offer after review; may be repeated",
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="new CSV file: the list with the accepted concepts")
    command.add_argument(
        "--neighbours",
        type=int,
        default=10,
        metavar="N",
        help="how many similar concepts to offer for each listed one (default: 10)",
    )


def _curate(options: argparse.Namespace) -> int:
    from ehr_pipeline.concepts.table import read_vectors
    from ehr_pipeline.disclosure.figures import Naming
    from ehr_pipeline.events import resolve_lists
    from ehr_pipeline.planning import curate_list
    from ehr_pipeline.runs.pipeline import Pipeline
    from ehr_pipeline.terminology import code_lists
    from ehr_pipeline.vocabulary.table import Vocabulary

    if options.neighbours < 1:
        raise InputError("--neighbours must be a whole number, at least 1.")
    if options.out and not options.review:
        raise InputError("--out needs a review: --review FILE. Write one with --offer FILE, and fill it in.")
    study = study_of(options)
    pipeline = Pipeline(study)
    made, split = pipeline.require(CONCEPT_EMBEDDINGS), pipeline.require(DATA_SPLIT)
    vectors = read_vectors(made.path)
    vocabulary = Vocabulary.read(pipeline.require(VOCABULARY).path).first(len(vectors))
    rows = resolve_lists.Ladder(study.events, pipeline.require(MAPPED_EVENTS)).resolve({"LIST": str(options.list)})[
        "LIST"
    ]
    decisions = curate_list.read_reviews(options.review)
    accepted = [one for one in decisions if one.accepted]
    concepts = resolve_lists.concepts(rows)
    naming = Naming(study.reports.suppress_below, split.manifest["settings"]["key"])
    found, hidden = curate_list.candidates(concepts, vocabulary, vectors, options.neighbours, naming)
    decided = {one.concept for one in decisions}
    offered = [one for one in found if one.concept not in decided]
    print(
        f"{len(concepts):,} concepts on the list, {sum(one in vocabulary.token_of for one in concepts):,} of them in the"
        f" vocabulary. {len(found):,} neighbours: {len(found) - len(offered):,} decided, {len(offered):,} not yet."
        f" In the reviews: {len(accepted):,} accepted, {len(decisions) - len(accepted):,} refused."
    )
    if hidden:
        print(f"{hidden:,} more neighbours are not shown: too few patients have them (reports.suppress_below).")
    if options.offer:
        curate_list.write_offer(options.offer, offered)
        print(
            printable(
                f"wrote {options.offer}: fill in decision ({curate_list.ACCEPT} or {curate_list.REFUSE}), reviewer, date"
            )
        )
    if options.out:
        curate_list.write_list(
            options.out, code_lists.read(options.list), [one for one in accepted if one.concept not in concepts]
        )
        print(printable(f"wrote {options.out}: to use it, give its path in the settings"))
    return 0
