from pathlib import Path

import numpy as np
import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.patients import split
from ehr_pipeline.patients.settings import PUBLIC_KEY, SplitSettings
from ehr_pipeline.runs.pipeline import Pipeline

IDS = [str(number) for number in range(20_000)]


def test_the_share_is_as_asked() -> None:
    share = np.mean([split.side(patient, SplitSettings(key=PUBLIC_KEY)) == "validation" for patient in IDS])
    assert share == pytest.approx(0.02, abs=0.004)


def test_a_patient_keeps_its_side() -> None:
    """Known values: a change would move validation patients into training."""
    assert [patient for patient in IDS[:300] if split.side(patient, SplitSettings(key=PUBLIC_KEY)) == "validation"] == [
        "12", "41", "47", "112", "121", "145", "148", "215"
    ]  # fmt: skip


def test_a_larger_share_moves_nobody_out_of_validation() -> None:
    small = {
        patient
        for patient in IDS
        if split.side(patient, SplitSettings(key=PUBLIC_KEY, validation_share=0.02)) == "validation"
    }
    large = {
        patient
        for patient in IDS
        if split.side(patient, SplitSettings(key=PUBLIC_KEY, validation_share=0.10)) == "validation"
    }
    assert small < large


def test_another_key_gives_another_split() -> None:
    one, two = ({p for p in IDS if split.side(p, SplitSettings(key=key)) == "validation"} for key in ("one", "two"))
    assert len(one & two) < 0.2 * len(one)


def test_shards_keep_the_order_of_the_data_set(tiny: Pipeline) -> None:
    outcome = {check.name: check for check in tiny.check("data_split")}
    assert outcome["no_patient_on_both_sides"].passed


def test_a_side_without_patients_is_told(tiny: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"0 validation patients; both need at least one. Raise patients.split.validation_share"
    ):
        split.build(
            tiny.store.current("patient_dataset"), SplitSettings(key=PUBLIC_KEY, validation_share=1e-9), tmp_path
        )
