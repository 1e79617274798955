"""What the map of patients shows, and what it does not."""

from ehr_pipeline.reports.statements.statement import Statement, say


def no_map(fewest: int) -> Statement:
    """Say why there is no map."""
    return say("There is no map: no cluster has {fewest} patients.", fewest=fewest)


def how_to_read(fewest: int) -> list[Statement]:
    """Explain the map."""
    sentences = [
        say(
            'A projection of the patients’ vectors onto paper (UMAP; terms are <a href="#glossary">explained</a> at the end):'
            " patients whose records are alike lie close together."
        )
    ]
    if fewest > 1:
        sentences.append(
            say(
                "No single patient is drawn: each mark, on this and all other maps, stands for at least {fewest} neighbours of one"
                " colour (a ring where they lie far apart). Groups of fewer than {fewest} patients are drawn together, dark and"
                " without a number, or not at all.",
                fewest=fewest,
            )
        )
    sentences.append(
        say(
            "Distances between groups that lie far apart have no meaning. Clusters are numbered from the largest to the smallest at"
            " first, and keep their number when they are found again."
        )
    )
    return sentences
