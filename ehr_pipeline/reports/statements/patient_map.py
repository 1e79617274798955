"""What the map of patients shows, and what it does not show."""

from ehr_pipeline.reports.statements.statement import Statement, say


def no_map(fewest: int) -> Statement:
    """Say why there is no map."""
    return say("There is no map, because no cluster has {fewest} patients.", fewest=fewest)


def how_to_read(fewest: int) -> list[Statement]:
    """Explain the map."""
    sentences = [
        say(
            'A projection of the patients’ vectors into two dimensions (UMAP; <a href="#glossary">terms are explained</a> at the'
            " end): patients with similar records are close together."
        )
    ]
    if fewest > 1:
        sentences.append(
            say(
                "No single patient is drawn: on this and all other maps, each dot stands for at least {fewest} neighbours of one"
                " colour (a ring, if they are far apart). Groups of fewer than {fewest} patients are drawn together, dark and"
                " without a number, or not at all.",
                fewest=fewest,
            )
        )
    sentences.append(
        say(
            "Distances between groups that are far apart have no meaning. Clusters are first numbered from the largest to the"
            " smallest; a cluster that is found again keeps its number."
        )
    )
    return sentences
