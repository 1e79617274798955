from pathlib import Path

import numpy as np
import pyarrow as pa

from ehr_pipeline.records.shuffle import Shuffle, by_bucket, read_bucket

SCHEMA = pa.schema([("patient", pa.string()), ("day", pa.int32())])


def test_every_row_comes_back_in_its_bucket_in_order(tmp_path: Path) -> None:
    rng, wanted = np.random.default_rng(1), {}
    with Shuffle(tmp_path / "s", 8, SCHEMA) as shuffle:
        for file in range(3):
            bucket, day = rng.integers(0, 8, 50), rng.integers(0, 9, 50).astype(np.int32)
            rows = pa.record_batch([pa.array([f"p{b}" for b in bucket]), pa.array(day)], schema=SCHEMA)
            shuffle.add(by_bucket(rows, bucket, 8), file, 100 * file)
            for number in range(8):
                wanted[number, file] = day[bucket == number].tolist()
    for number in range(8):
        bucket = read_bucket(tmp_path / "s", number)
        assert bucket.rows.column(1).to_pylist() == [day for file in range(3) for day in wanted[number, file]]
        assert set(bucket.rows.column(0).to_pylist()) == {f"p{number}"}
        file, line = bucket.places(np.arange(bucket.rows.num_rows))
        assert file.tolist() == [file for file in range(3) for _ in wanted[number, file]]
        assert (line - np.arange(len(line)) == 100 * file).all()


def test_an_empty_shuffle_has_empty_buckets(tmp_path: Path) -> None:
    with Shuffle(tmp_path / "s", 4, SCHEMA) as shuffle:
        shuffle.add(by_bucket(pa.RecordBatch.from_pylist([], SCHEMA), np.empty(0, np.int32), 4))
    assert [read_bucket(tmp_path / "s", bucket).rows for bucket in range(4)] == [SCHEMA.empty_table()] * 4
