"""Sentences about the making of the page: libraries, machines, versions."""

from collections.abc import Sequence

from markupsafe import Markup

from ehr_pipeline.reports.statements.statement import Statement, markup, say


def installed(versions: Sequence[tuple[str, str]]) -> Statement:
    """Say which libraries were installed where the page was made."""
    return say(
        "Installed where this page was made: {names}.", names=", ".join(f"{name} {number}" for name, number in versions)
    )


def machines(decided: Sequence[tuple[str, str]]) -> Statement | None:
    """Say which choices depended on the machine, for each asset; None if there were none."""
    if not decided:
        return None
    each = (markup("<code>{asset}</code> {what}", asset=asset, what=what) for asset, what in decided)
    return say("These settings depended on the machines: {each}.", each=Markup("; ").join(each))


def version(version: str) -> Statement:
    """Say which version of the package made the page; the versions of the data follow."""
    return say(
        "The page has no date, so that the same results give the same page; the manifest next to it says when it was made. Made"
        " by ehr_pipeline {version} from these versions of the data:",
        version=version,
    )
