"""Forecast what may follow a typed-in history, from the artifacts of a study: no patient's record is read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.assets import identity
from ehr_pipeline.disclosure.figures import FEWEST, Naming
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.errors import printable
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.forecasts import typed_history
from ehr_pipeline.forecasts.cases import YEAR
from ehr_pipeline.forecasts.forecaster import Answer, Forecaster
from ehr_pipeline.forecasts.metrics import NEW, RECURRING
from ehr_pipeline.forecasts.table import Forecasts, SavedCounting
from ehr_pipeline.reports.statements.forecasts import WITHIN
from ehr_pipeline.reports.statements.forecasts import no_verdict as not_judged
from ehr_pipeline.reports.statements.forecasts import verdict as verdict_of
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.tables.asset_names import ENCODER_CHECKPOINT, FORECASTS, MAPPED_EVENTS, VOCABULARY
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT

FINEST = 0.01
"""Shares are rounded to hundredths: finer shares of rare concepts would reveal small numbers of patients."""
HEADINGS = {RECURRING: "Recorded before, and likely again", NEW: "Not recorded before"}
UNCALIBRATED = (
    "These are shares of what is recorded at that age, not probabilities of being recorded, and there is no popularity beside them:"
    " that takes a validation and a test set of enough patients (patients.split.test_share), and the asset forecasts."
)


@dataclass(frozen=True)
class LoadedStudy:
    """A study's encoder, loaded and ready for forecasts."""

    forecaster: Forecaster
    shown: frozenset[str]
    """Concepts that enough patients have for their names to be shown."""
    known: typed_history.TypedTexts
    judged: Forecasts | None
    """How good the forecasts are for test patients; None if they were not evaluated."""
    below: int = FEWEST
    """The smallest number of patients that is shown."""

    @classmethod
    def of(cls, pipeline: Pipeline) -> "LoadedStudy":
        """Open the artifacts of a study. Raises MissingArtifact and UserError."""
        study, encoder = pipeline.study, pipeline.require(ENCODER_CHECKPOINT)
        vocabulary = pipeline.require(VOCABULARY).path
        forecasts = pipeline.require(FORECASTS) if pipeline.store.has(FORECASTS) else None
        folder = encoder.file("checkpoint")
        shape = {**identity.encoder_shape(study), "precision": "float32"}
        how = Inference(**shape, batch_tokens=study.embeddings.batch_tokens)
        counted = SavedCounting.read(forecasts.path) if forecasts else None
        forecaster = Forecaster.open(folder, vocabulary, counted, how, study.forecasts.tokens_before)
        naming: Naming = pipeline.naming
        shown = forecaster.vocabulary.nameable(naming)
        codes: list[tuple[str, str]] = []
        if pipeline.store.has(MAPPED_EVENTS):
            mapping = Mapping.read(pipeline.require(MAPPED_EVENTS).path, "code", "snomed", "concept")
            known = mapping.concept_of_code()
            pairs = mapping.mapped.select("code", "concept").iter_rows()
            codes = [*known.items(), *((code, concept) for code, concept in pairs if code not in known)]
        judged = Forecasts.read(forecasts.path) if forecasts else None
        return cls(
            forecaster,
            shown,
            typed_history.TypedTexts.of(forecaster.vocabulary, shown, codes),
            judged if counted is not None else None,
            naming.below,
        )

    def flags(self) -> NDArray[np.bool_]:
        """Return flags (V,) of the token ids that may be shown."""
        flags = [one.concept in self.shown for one in self.forecaster.vocabulary.concepts]
        return np.array([False] * FIRST_CONCEPT + flags)

    def answer(self, lines: Iterable[str], sex: str, born: str, horizon: str, most: int) -> Answer:
        """Forecast what may follow a history that is given as lines of text. Raises UserError."""
        history = typed_history.read(lines, self.known, born)
        return self.forecaster.forecast(history, np.array([sex == "F"]), horizon, self.flags(), most)[0]

    def verdicts(self, horizon: str = YEAR) -> list[str]:
        """Return sentences on how good such forecasts are."""
        rows = [self.judged.verdict(horizon, name) for name in (RECURRING, NEW)] if self.judged else []
        about = Disclosure(self.below).about
        return [str(verdict_of(row, about(row["patients"]))) for row in rows if row] or [str(not_judged())]


def text(opened: LoadedStudy, answer: Answer, horizon: str) -> Iterator[str]:
    """Yield the answer as lines for a terminal."""
    vocabulary, calibrated = opened.forecaster.vocabulary, opened.forecaster.calibrated(horizon)
    for name, heading in HEADINGS.items():
        yield f"{heading} ({WITHIN[horizon]})"
        yield f"  {'likely':>7}  {'usual':>7}  concept"
        for one in answer.of(name):
            concept = vocabulary.concepts[one.token - FIRST_CONCEPT]
            usual = "" if one.popularity is None else percent(one.popularity)
            yield f"  {percent(one.probability):>7}  {usual:>7}  {printable(concept.name)} ({printable(concept.concept)})"
        if not answer.of(name):
            yield "  none"
        yield ""
    if calibrated:
        yield "likely: the probability that it is recorded; usual: how often it is in people of similar age and sex, for whom"
        yield "it is recurring, or new, as well."
    else:
        yield UNCALIBRATED
    yield from opened.verdicts(horizon)


def percent(share: float) -> str:
    """Return a probability as text in whole per cent: '12 %', '< 1 %'."""
    return f"< {FINEST:.0%}".replace("%", " %") if share < FINEST else f"{share:.0%}".replace("%", " %")
