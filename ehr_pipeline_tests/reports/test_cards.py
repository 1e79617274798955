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

    assert told([""] * 40) == "sex not given"
    assert told(["F", "M"] * 20) == "female about 50 %"
