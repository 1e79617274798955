"""Settings of the patient data set and of its split."""

from collections.abc import Iterator
from typing import Literal

from ehr_pipeline.records.values import plainly
from ehr_pipeline.typed_settings import option, settings

TRAIN, VALIDATION, TEST, UNASSIGNED = "train", "validation", "test", "unassigned"
"""The sides. Nothing is learned from patients on the last two; UNASSIGNED patients have no side in the column."""
LEARNED_FROM = (TRAIN, VALIDATION)
EVERY_SIDE = (*LEARNED_FROM, TEST, UNASSIGNED)
USUAL_SIDES = {
    **dict.fromkeys(("train", "training", "training set", "train set"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev", "tuning", "tune", "validation set", "dev set"), VALIDATION),
    **dict.fromkeys(("held out", "heldout", "hold out", "holdout", "test", "testing", "test set"), TEST),
    **dict.fromkeys(("", "none", "null", "na", "n/a", "nan", "unassigned"), UNASSIGNED),
}
"""Usual spellings of sides, in lower case with blanks between words; without the ambiguous 'development', 'evaluation'."""
SIDES = "sides"
"""Name of the hash of the split among the settings of assets that learn from a part of the patients."""
PUBLIC_KEY = "ehr-pipeline-split-1"
"""The key of the demo, and of studies that set no key before each store had its own. It is public."""


def shown_key(key: str) -> str:
    """Return the key of a split as it may be shown: with it and the ids, sides can be computed. The public key is shown."""
    return key if key in ("", PUBLIC_KEY) else "(not shown)"


@settings
class SplitSettings:
    """Which patients are held out: by a keyed hash of the id, or as a column of the patients says. A patient keeps its side."""

    validation_share: float = option(
        "Share of the patients held out. Source: 0.02 in the published run.", 0.02, gt=0, lt=0.5
    )
    key: str = option(
        "Key of the hash of the patient id (BLAKE2b). Another key gives another split. Empty: the key of the split that is in the"
        " store; a new store gets a random one. Set it to have the same split in another store.",
        "",
    )
    test_share: float = option(
        "Share of the patients on the test side, by the same hash: no vocabulary, encoder, transform or probe learns from them."
        " 0: there is no test side.",
        0.0,
        ge=0,
        lt=0.5,
        later=True,
    )
    column: str = option(
        "Attribute of the patients (such as those of records.patients.attributes, or the one that records.meds.splits names) that"
        " says each patient's side: train; tuning or validation; held_out or test. Who has no value is on no side, and nothing is"
        " learned from them. Empty: the hash decides.",
        "",
        later=True,
    )
    values: dict[str, str] = option(
        "How values of the column are to be read, such as {A = 'train', B = 'test'}. The usual words need not be named.",
        {},
        later=True,
    )
    draw_validation: bool = option(
        "Draw validation patients from those whom the column puts on the training side, by the hash and validation_share: for data"
        " sets that tell only train and test.",
        False,
        later=True,
    )

    @property
    def leaves_out(self) -> bool:
        """Whether there may be patients from whom nothing is learned. If so, sides are known before the vocabulary."""
        return bool(self.column or self.test_share)

    @property
    def meanings(self) -> dict[str, str]:
        """The side that each value listed in `values` means; empty for an unknown side."""
        return {value: USUAL_SIDES.get(plainly(meant), "") for value, meant in self.values.items()}

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with these values beyond their types."""
        for value, side in self.meanings.items():
            if not side:
                yield (
                    f"values: {value!r} is to be read as {self.values[value]!r}, which is no side. Use 'train', 'validation',"
                    " 'test' or 'unassigned'."
                )
        if self.column and self.test_share:
            yield "give either column or test_share, not both: the column says who is on the test side."
        if not self.column and (self.values or self.draw_validation):
            yield "values and draw_validation belong to column, which is empty: name it, or remove them."


@settings
class DerivedAttribute:
    """An attribute that is read off a patient's recorded codes, such as ethnicity. What a patient file says comes first."""

    codes: str = option("A table of codes as they are recorded (columns code,value).", role="list")
    rule: Literal["most_recent", "most_frequent"] = option(
        "Which value counts, of several: 'most_recent' (of two on one day, the one on more days) or 'most_frequent' (the one on the"
        " most days; of two, the more recent); then the first in order of the alphabet.",
        "most_recent",
    )


@settings
class PatientsSettings:
    """Which visits and patients stay."""

    max_concepts_per_visit: int = option("Larger visits are removed. Source: 512 in the published run.", 512, ge=1)
    min_visits: int = option("Patients with fewer visits are removed. Source: 3 in the published run.", 3, ge=1)
    derived: dict[str, DerivedAttribute] = option(
        "Attributes that are derived from recorded codes: name in the data set = how, such as [patients.derived.ethnicity].",
        {},
    )
    visit_window_days: int = option(
        "An event within so many days of a visit's first day joins that visit; 0: a visit is a day. For records in which"
        " events of one visit bear several dates.",
        0,
        ge=0,
        le=366,
    )
    split: SplitSettings = option("Training and validation patients.", SplitSettings())
    workers: int = option(
        "Buckets that are worked on side by side: 1 works inline, up to 4 on threads, more on processes.",
        1,
        role="tuning",
        ge=1,
        le=512,
    )
