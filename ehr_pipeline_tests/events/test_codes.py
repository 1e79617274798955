import pyarrow as pa

from ehr_pipeline.events.codes import CodeIndex


def test_places_of_codes() -> None:
    everything = pa.array(["007", "10", "9", "99999999999999999999", "M1"])
    asked = pa.array(["M1", "9", "007", "10", "99999999999999999999"])
    assert CodeIndex(everything).positions(asked).tolist() == [4, 2, 0, 1, 3]
    assert CodeIndex(pa.array([], pa.string())).positions(pa.array([], pa.string())).tolist() == []
