"""Change over time: who moved between clusters, and which moves neither chance nor growing older explains."""

from collections.abc import Mapping
from typing import Any

from ehr_pipeline.reports.statements.statement import Rate, Statement, cluster_link, counted, percent, say
from ehr_pipeline.trajectories.transitions import FEWEST_MOVES


def windows(facts: Mapping[str, Any]) -> list[Statement]:
    """Say how records were divided into windows, how many patients have several, and how many stay in one cluster."""
    if facts["drawn"]:
        several = f"Of {facts['drawn']} patients drawn at random, {facts['patients']} have two windows or more."
    else:
        several = f"{facts['patients'].capitalize()} patients have two windows or more."
    few = facts["too_few"]
    sentences = [
        say(
            "The records were cut into windows of {years} years, starting at {counted_from}. Each window was embedded like a"
            " whole record, and was assigned the cluster of the nearest whole records; the patient’s whole record was left out of"
            " this comparison.",
            years=facts["years"],
            counted_from=facts["counted_from"],
        ),
        say("{several}", several=several),
    ]
    if few not in ("…", "0"):
        sentences.append(
            say(
                "The other {few} have one window or none: their record is shorter, or the rest of it contains too few of the"
                " chosen concepts. How they change is not known.",
                few=few,
            )
        )
    if facts["stayed"] != "–":
        sentences.append(
            say(
                "Of those with two windows or more, {stayed} are in the same cluster in the first window and in the last.",
                stayed=facts["stayed"],
            )
        )
    return sentences


def picture(facts: Mapping[str, Any]) -> list[Statement]:
    """Explain the picture of courses; nothing if there is none."""
    if not facts["picture"]:
        return []
    moves = bool(facts["moves"])
    sentences = [
        say(
            "The same map as above. {where} the mean position of the windows of the patients in each cluster, from the first"
            " window to the last (arrow).",
            where="Left:" if moves else "It shows",
        )
    ]
    if moves:
        sentences.append(
            say(
                "Right: an arrow for each pair of clusters between which more patients moved in one direction than expected.",
                Rate.CHANGE,
            )
        )
    return sentences


def picture_alt(facts: Mapping[str, Any]) -> str:
    """Return the alternative text of the picture of courses."""
    moves = ", and moves between them," if facts["moves"] else ""
    return f"Mean paths of the clusters{moves} on the map of patients"


def limits(fewest: int, *, by_year: bool = True) -> list[Statement]:
    """Say which moves count as a change, which causes of moves cannot be distinguished, and what stands for hidden numbers.

    `by_year`: whether expected moves depend on the calendar year, which means nothing if dates are shifted."""
    hidden = say(
        "“…” replaces numbers of fewer than {fewest} patients (except 0), and numbers from which such a number could be computed.",
        fewest=fewest,
    )
    return [
        say(
            "A window contains less than a whole record, so some patients change their cluster by chance. Others do because they"
            " grow older: diagnoses begin, and the first window contains the history that was entered at registration. So a move"
            " is shown only if more patients made it, minus those who moved back, than expected. The expectation comes from"
            " patients of the same disease and sex, and of similar {alike}: it assumes that records change as theirs do.",
            alike="age, calendar year and amount of record" if by_year else "age and amount of record",
        ),
        say(
            "So what happens to all patients is not a change, and neither are moves that are equally frequent in both directions."
            " A change that only patients of one cluster go through is shown, whatever its cause: their condition, their care, or"
            " a new way of recording it."
        ),
        *([hidden] if fewest > 1 else []),
    ]


def transitions() -> Statement:
    """Say what the table of transitions counts."""
    return say(
        "Patients by the cluster of their first window and of their last. These moves include ageing and chance."
    )


def named(number: int, card: Mapping[str, Any], verdict: str) -> Statement:
    """Name a cluster in the table of moves: by its number, and by its title and ages if it is described."""
    link = cluster_link(number)
    if card["hidden"] or verdict == "none":
        return say("{link}", link=link)
    return say(
        '{link} <span class="soft">{title}, median age {age}</span>',
        Rate.MARKS,
        link=link,
        title=card["title"],
        age=card["age"].split()[0],
    )


def tested(pairs: int, of: int, max_q: float) -> list[Statement]:
    """Say how many (`pairs`) of all pairs of clusters (`of`) were tested; nothing if none was."""
    if not pairs:
        return []
    return [
        say(
            "Tested: {pairs} of {of}, between which at least {fewest} patients moved; a move is shown if its BH value is below"
            " {max_q:g} over the pairs tested.{rest}",
            Rate.CHANGE,
            pairs=f"{pairs:,}",
            of=counted(of, "pair of clusters", "pairs of clusters"),
            rest=_untested(pairs, of),
            fewest=FEWEST_MOVES,
            max_q=max_q,
        )
    ]


def _untested(pairs: int, of: int) -> str:
    """Say that nothing is known of the pairs that were not tested; empty if all were."""
    return "" if pairs == of else " The other pairs were not examined."


def no_moves(pairs: int, of: int, fewest: int, max_q: float) -> Statement:
    """Say that no tested pair of clusters has more moves in one direction than expected, or that none was tested. `pairs`: how many
    were tested; `of`: how many there are."""
    if not pairs:
        return say("Too few patients moved between any two clusters to test whether they changed.")
    return say(
        "No change is shown beyond ageing and chance. {pairs} of {of} {have} enough moves to test: {none} more patients move in"
        " one direction than expected (BH value below {max_q:g}, and at least {fewest} patients).{rest} A change that few"
        " patients go through can be missed.",
        Rate.CHANGE,
        max_q=max_q,
        pairs=f"{pairs:,}",
        of=counted(of, "pair of clusters", "pairs of clusters"),
        have="has" if pairs == 1 else "have",
        none="there, no" if pairs == 1 else "in none of these do",
        fewest=fewest,
        rest=_untested(pairs, of),
    )


def planted(agreement: Mapping[str, Any] | None) -> Statement | None:
    """Say how many of the planted changes were found; None if nothing was planted that windows can show."""
    if not agreement or not agreement["changed"]:
        return None
    return say(
        "This extract is synthetic. Of the planted changes that the windows can show, {found} were found, with the right group"
        " before and after (by chance {chance}); of the patients who do not change, {unchanged} keep their group.",
        found=percent(agreement["changed_found"]),
        chance=percent(agreement["changed_found_by_chance"]),
        unchanged=percent(agreement["unchanged_found"]),
    )
