"""The terms of use of the data: licence, protocol, last day of use, and which results may leave the place that holds the data."""

import datetime
import os
from collections.abc import Iterator, Sequence

from ehr_pipeline.errors import UserError
from ehr_pipeline.typed_settings import option, settings

RESTRICTED, RELEASABLE = "restricted", "releasable"


@settings
class GovernanceSettings:
    """The terms under which the data are used. They are stated in every manifest, report and release."""

    licence: str = option("Licence or agreement under which you have the data.", "")
    protocol: str = option("Number of the approved protocol.", "")
    expires: str = option(
        "Last day (YYYY-MM-DD) on which the data may be used. After this day nothing is built, exported or released. Empty: no"
        " end.",
        "",
    )
    round_to: int = option(
        "Counts in released files, in Dagster and in summary.json are rounded to a multiple of this, after small"
        " counts were suppressed (reports.suppress_below). If it is not a multiple of reports.suppress_below, the next"
        " multiple is used.",
        10,
        role="operation",
        ge=1,
    )

    def problems(self) -> Iterator[str]:
        """Yield a message for each value that cannot be read."""
        if self.expires:
            try:
                datetime.date.fromisoformat(self.expires)
            except ValueError:
                yield f"expires is a date as YYYY-MM-DD, not {self.expires!r}"

    @property
    def terms(self) -> dict[str, str]:
        """Return those terms that are set, by name."""
        return {name: value for name in ("licence", "protocol", "expires") if (value := getattr(self, name))}


def refuse_if_expired(settings: GovernanceSettings, today: datetime.date | None = None) -> None:
    """Raise UserError after the last day on which the data may be used."""
    if settings.expires and (today or datetime.date.today()) > datetime.date.fromisoformat(settings.expires):
        raise UserError(
            f"The data may be used until {settings.expires} (governance.expires), which has passed. Renew the licence"
            f"{f' {settings.licence!r}' if settings.licence else ''}, then change the setting; or delete the data."
        )


def label(released: Sequence[str], settings: GovernanceSettings) -> dict[str, str]:
    """Return what a manifest states about an asset: its class (releasable or restricted), releasable files, and the terms."""
    files = {RELEASABLE: " ".join(released)} if released else {}
    return {"class": RESTRICTED, **files, **settings.terms}


def private_files() -> None:
    """Deny users outside the group access to all files that this process will write, whatever the umask."""
    os.umask(os.umask(0o077) | 0o027)
