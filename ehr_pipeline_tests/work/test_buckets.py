import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path

import pytest

from ehr_pipeline.work.buckets import ahead, read_once, release_all


@pytest.mark.parametrize(("threads", "depth"), [(1, None), (1, 4), (2, None), (3, 8)])
def test_results_come_in_order_and_no_more_is_begun_than_was_asked_for(threads: int, depth: int | None) -> None:
    begun: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            begun.append(number)
            yield number

    results = ahead(lambda number: number * number, items(), threads, depth)
    assert list(islice(results, 3)) == [0, 1, 4]
    assert len(begun) == 3 + (depth or threads)
    assert list(results) == [number * number for number in range(3, 20)]


def test_what_goes_wrong_in_a_thread_is_raised_where_its_result_would_have_come() -> None:
    def broken(number: int) -> int:
        if number == 1:
            raise OSError("the disk is gone")
        return number

    results = ahead(broken, count())
    assert next(results) == 0
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


def test_the_threads_end_when_nobody_asks_any_more_without_what_was_not_begun() -> None:
    done: list[int] = []
    released = threading.Event()

    def slow(number: int) -> int:
        if number:
            released.wait(10)
        done.append(number)
        return number

    results = ahead(slow, count(), threads=1, depth=50)
    assert next(results) == 0
    threading.Timer(0.2, released.set).start()
    results.close()  # type: ignore[attr-defined]
    assert len(done) < 50
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_what_all_buckets_need_is_read_once_until_it_is_let_go() -> None:
    read: list[Path] = []

    @read_once(2)
    def content(path: Path) -> str:
        read.append(path)
        time.sleep(0.01)  # so that the threads ask while it is read
        return path.name

    one, other = Path("one"), Path("other")
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(content, [one, other] * 8)) == ["one", "other"] * 8
    assert sorted(read) == [one, other]
    content(Path("third"))  # in place of one of the two
    release_all()
    content(one)
    content(other)
    assert sorted(read) == [one, one, other, other, Path("third")]
