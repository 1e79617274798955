"""What a card tells of its patients."""

import numpy as np
import pyarrow as pa

from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports import cards


def test_a_sex_that_nobody_gave_is_not_male() -> None:
    def told(sexes: list[str]) -> object:
        size = len(sexes)
        people = pa.table({"age": np.arange(size), "concepts": np.arange(size), "sex": sexes, "disease": ["x"] * size})
        return cards.describe(people, np.arange(size) < 20, size, [], Disclosure(10))["sex"]

    assert told([""] * 40) == "sex unknown"
    assert told(["F", "M"] * 20) == "female about 50 %"


def test_the_disease_that_everybody_has_is_not_told_by_a_bound() -> None:
    """In a cohort of one disease, its clusters were said to have it in ">90 %" of their patients."""

    def told(diseases: list[str]) -> object:
        size = len(diseases)
        people = pa.table(
            {"age": np.arange(size), "concepts": np.arange(size), "sex": ["F"] * size, "disease": diseases}
        )
        return cards.describe(people, np.arange(size) < 60, size, [], Disclosure(10))["diseases"]

    assert told(["Asthma"] * 120) == []
    assert told(["Asthma"] * 60 + ["Eczema"] * 60) == [("Asthma", ">83 %")]
