"""Files of any layout, whose columns the settings name: OPCRD, and all other data without a source module."""

from collections.abc import Iterator

from ehr_pipeline.records.code_columns import event_kind
from ehr_pipeline.records.kinds import Kinds, PatientKind
from ehr_pipeline.records.layouts import EventFiles, PatientFiles


def kinds(events: tuple[EventFiles, ...], patients: tuple[PatientFiles, ...]) -> Kinds:
    """Return the kinds of files that the tables [[records.events]] and [[records.patients]] describe."""
    return Kinds(
        tuple(event_kind(f"records.events[{number}]", files) for number, files in enumerate(events)),
        tuple(
            PatientKind(where=f"records.patients[{number}]", files=files, partial=not files.columns.has_birth)
            for number, files in enumerate(patients)
        ),
    )


def problems(events: tuple[EventFiles, ...], patients: tuple[PatientFiles, ...]) -> Iterator[str]:
    """Yield what is missing in the two tables."""
    if not events:
        yield "at least one [[records.events]] table is needed."
    if not patients:
        yield "at least one [[records.patients]] table is needed."
    elif not any(files.columns.has_birth for files in patients):
        yield (
            "no table of [[records.patients]] gives births: give columns.birth_date or columns.birth_year, so"
            " that ages can be computed."
        )
