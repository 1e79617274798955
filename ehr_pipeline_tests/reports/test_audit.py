import numpy as np
import pytest

from ehr_pipeline.reports.audit import cramers_v, effect, eta_squared

LABELS = np.repeat([0, 1, 2], 100)


def test_eta_squared_is_the_share_of_variance_between_clusters() -> None:
    values = LABELS * 1.0 + np.tile([-0.5, 0.5], 150)
    between = ((LABELS - 1.0) ** 2).sum()
    assert eta_squared(values, LABELS) == pytest.approx(between / ((values - values.mean()) ** 2).sum())
    assert eta_squared(LABELS * 1.0, LABELS) == pytest.approx(1)
    assert eta_squared(np.ones(300), LABELS) is None


def test_cramers_v() -> None:
    names = np.array(["a", "b", "c"])
    assert cramers_v(names[LABELS], LABELS) == pytest.approx(1)
    assert cramers_v(np.tile(["a", "b"], 150), LABELS) == pytest.approx(0, abs=1e-9)
    assert cramers_v(np.full(300, "a"), LABELS) is None


def test_chance_alone_has_no_effect() -> None:
    rng = np.random.default_rng(0)
    found = [cramers_v(rng.choice(list("abcdefghij"), 300), rng.integers(0, 20, 300)) for _ in range(50)]
    assert np.mean([value for value in found if value is not None]) < 0.05, (
        "without the correction it would be about 0.25"
    )


@pytest.mark.parametrize(("value", "word"), [(0.005, "negligible"), (0.05, "small"), (0.1, "medium"), (0.5, "large")])
def test_words(value: float, word: str) -> None:
    from ehr_pipeline.reports.audit import Effect

    assert Effect("age", "η²", value).words == word
    assert effect("age", np.ones(300), LABELS).words == "undefined"
