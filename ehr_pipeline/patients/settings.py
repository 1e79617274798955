"""Settings of the patient data set and of its split."""

from collections.abc import Iterator
from typing import Literal

from ehr_pipeline.records.values import comparable
from ehr_pipeline.typed_settings import option, settings

TRAIN, VALIDATION, TEST, UNASSIGNED = "train", "validation", "test", "unassigned"
"""The sets of the split. Nothing is learned from patients in the last two; UNASSIGNED patients have no value in the column."""
LEARNED_FROM = (TRAIN, VALIDATION)
EVERY_SIDE = (*LEARNED_FROM, TEST, UNASSIGNED)
USUAL_SIDES = {
    **dict.fromkeys(("train", "training", "training set", "train set"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev", "tuning", "tune", "validation set", "dev set"), VALIDATION),
    **dict.fromkeys(("held out", "heldout", "hold out", "holdout", "test", "testing", "test set"), TEST),
    **dict.fromkeys(("", "none", "null", "na", "n/a", "nan", "unassigned"), UNASSIGNED),
}
"""Usual names of the sets, in lower case with blanks between words; without the ambiguous 'development' and 'evaluation'."""
SIDES = "sides"
"""Key in the settings of an asset that learns from only some patients. Its value is the hash of the split."""
PUBLIC_KEY = "ehr-pipeline-split-1"
"""The public key of the demo, and of older studies without a key, from before each store had its own."""


def shown_key(key: str) -> str:
    """Return a split's key if it is public, otherwise a placeholder: with the key, ids reveal each patient's set."""
    return key if key in ("", PUBLIC_KEY) else "(not shown)"


@settings
class SplitSettings:
    """Which patients are held out: decided by a keyed hash of the patient id, or by a column of the patient file. Once a patient
    has a side (training, validation or test), new extracts do not change it."""

    validation_share: float = option(
        "Share of the patients held out for validation. Source: 0.02 in the published run.", 0.02, gt=0, lt=0.5
    )
    key: str = option(
        "Key for the hash of the patient id (BLAKE2b). Another key gives another split. Empty: the key of the split already in"
        " the store; a new store gets a random key. Set the key to have the same split in another store.",
        "",
    )
    test_share: float = option(
        "Share of the patients in the test set, by the same hash. No vocabulary, encoder, transform or probe learns from these"
        " patients. 0: there is no test set.",
        0.0,
        ge=0,
        lt=0.5,
        later=True,
    )
    column: str = option(
        "Attribute of the patients that gives each patient's side: train; tuning or validation; held_out or test. It can be one"
        " of records.patients.attributes, or the one set in records.meds.splits. Nothing is learned from patients without a"
        " value. Empty: the hash decides.",
        "",
        later=True,
    )
    values: dict[str, str] = option(
        "Meanings of the values in the column, such as {A = 'train', B = 'test'}. The usual words need not be listed.",
        {},
        later=True,
    )
    draw_validation: bool = option(
        "Whether validation patients are drawn, by the hash and validation_share, from the column's training set: for data sets"
        " that have only train and test.",
        False,
        later=True,
    )

    @property
    def leaves_out(self) -> bool:
        """Whether some patients may be excluded from training. If so, the split is made before the vocabulary."""
        return bool(self.column or self.test_share)

    @property
    def meanings(self) -> dict[str, str]:
        """The set of each value listed in `values`; empty if unknown."""
        return {value: USUAL_SIDES.get(comparable(meant), "") for value, meant in self.values.items()}

    def problems(self) -> Iterator[str]:
        """Yield problems with these values, other than wrong types."""
        for value, side in self.meanings.items():
            if not side:
                yield (
                    f"values: {value!r} is to be read as {self.values[value]!r}, which is not a set. Use 'train', 'validation',"
                    " 'test' or 'unassigned'."
                )
        if self.column and self.test_share:
            yield "give either column or test_share, not both: the column determines the test set."
        if not self.column and (self.values or self.draw_validation):
            yield "values and draw_validation need column, which is empty: set it, or remove them."


@settings
class DerivedAttribute:
    """An attribute derived from a patient's recorded codes, such as ethnicity. A value in a patient file takes precedence."""

    codes: str = option("A table of codes as they are recorded (columns code,value).", role="list")
    rule: Literal["most_recent", "most_frequent"] = option(
        "Which of several values to use: 'most_recent' (a tie goes to the value recorded on more days) or 'most_frequent' (the"
        " value recorded on most days; a tie goes to the more recent). Remaining ties go to the first in alphabetical order.",
        "most_recent",
    )


@settings
class PatientsSettings:
    """Which visits and patients are kept."""

    max_concepts_per_visit: int = option("Larger visits are removed. Source: 512 in the published run.", 512, ge=1)
    min_visits: int = option("Patients with fewer visits are removed. Source: 3 in the published run.", 3, ge=1)
    derived: dict[str, DerivedAttribute] = option(
        "Attributes derived from recorded codes: one table for each name in the data set, such as [patients.derived.ethnicity].",
        {},
    )
    visit_window_days: int = option(
        "Events within this number of days after a visit's first day belong to that visit; 0: each day is a separate visit. Use"
        " it if events of one visit have different dates.",
        0,
        ge=0,
        le=366,
    )
    split: SplitSettings = option("Training and validation patients.", SplitSettings())
    workers: int = option(
        "Number of buckets processed in parallel: 1 works in the process of the run, 2 to 4 use threads, more use processes.",
        1,
        role="tuning",
        ge=1,
        le=512,
    )
