"""`ehr-pipeline forecast` names only concepts that enough patients have, in its answers as in what may be typed."""

import pytest

from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.errors import UserError
from ehr_pipeline.export.forecast import LoadedStudy
from ehr_pipeline.forecasts.forecaster import Forecaster
from ehr_pipeline.forecasts.typed_history import TypedTexts
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT
from ehr_pipeline_tests.encoder.data import vocabulary_of

SIZE = 20
SETTINGS = EncoderSettings(hidden_size=16, layers=1, heads=2, feed_forward=32, context=16)


def test_concepts_of_few_patients_are_neither_named_nor_taken() -> None:
    vocabulary = vocabulary_of(SIZE)
    model = PackedEncoder(new_model(config_for(SETTINGS, SIZE, vocabulary.hash), seed=1)).eval()
    how = Inference(SETTINGS.context, SETTINGS.age_unit, SETTINGS.max_positions, 4096, "float32")
    few = vocabulary.concepts[3].concept
    shown = frozenset(one.concept for one in vocabulary.concepts) - {few}
    opened = LoadedStudy(Forecaster(model, vocabulary, None, how, 0), shown, TypedTexts.of(vocabulary, shown, []), None)
    before = vocabulary.concepts[0].concept
    answer = opened.answer([f"34,{before}"], "F", "", "365_days", SIZE)
    named = {vocabulary.concepts[one.token - FIRST_CONCEPT].concept for one in answer.new}
    assert named == shown - {before}
    with pytest.raises(UserError, match="no code, concept or name"):
        opened.answer([f"34,{few}"], "F", "", "365_days", SIZE)
