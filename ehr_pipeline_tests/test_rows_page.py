"""docs/rows.md names every reason for which rows are rejected, and its example runs."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ehr_pipeline import records
from ehr_pipeline.records import build, chunks, finish_bucket, ids, text
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import drop_reasons, schemas

PAGE = (Path(__file__).parents[1] / "docs/rows.md").read_text(encoding="utf-8")
NAMED = {
    *(ids.INEXACT, *build.EVENT_REASONS, *text.ODD.values(), finish_bucket.ORPHAN, text.CHANGED_HEADER),
    *(chunks.TOO_LONG, chunks.UNCLOSED, chunks.AFTER_UNCLOSED),
}
"""Reasons that have a name in the code."""


def written(tree: ast.AST) -> Iterator[str]:
    """Reasons that stand as texts where rows are rejected: `reason=pl.lit("…")`, `_rejects(…, "…")`, `bad.append((…, "…"))`, and
    the names of conditions."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        parts: list[ast.AST] = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
        if called.endswith("_rejects") or called in ("bad.append", "bad.extend"):
            parts += node.args
        for part in parts:
            for each in ast.walk(part):
                if (
                    isinstance(each, ast.Constant)
                    and isinstance(each.value, str)
                    and re.fullmatch(r"[a-z_]+", each.value)
                ):
                    yield each.value
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "conditions":
            assert isinstance(node.value, ast.Dict)
            yield from (key.value for key in node.value.keys if isinstance(key, ast.Constant))
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == "reason" for target in node.targets):
            for each in ast.walk(node.value):
                if isinstance(each, ast.Call) and ast.unparse(each.func) == "pl.lit":
                    yield from (
                        arg.value for arg in each.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
                    )


def used() -> set[str]:
    """Every reason that the reader may give."""
    folder = Path(records.__path__[0])
    found = {reason for path in folder.rglob("*.py") for reason in written(ast.parse(path.read_text(encoding="utf-8")))}
    return {reason for reason in found | NAMED if reason}


def test_the_reasons_of_the_reader_are_found() -> None:
    assert {
        "no_time",
        "missing_key",
        "wrong_number_of_fields",
        "empty_line",
        "repeated_header",
        "future_date",
    } <= used()
    assert set(written(ast.parse('bad.append((line, "torn_line"))\nx = _rejects(lines, "too_odd")'))) == {
        "torn_line",
        "too_odd",
    }


@pytest.mark.parametrize("reason", sorted(used()))
def test_every_reason_has_words_and_a_cure(reason: str) -> None:
    assert reason in drop_reasons.IN_WORDS, f"add {reason!r} to IN_WORDS in tables/drop_reasons.py: 'rows …'"
    assert reason in drop_reasons.REMEDIES, (
        f"add {reason!r} to CURES in tables/drop_reasons.py: what to do about such rows"
    )


def test_every_cure_is_of_a_reason_that_there_is() -> None:
    assert set(drop_reasons.REMEDIES) - used() - {"withdrawn"} == set()


def test_the_table_of_reasons_is_complete_and_true() -> None:
    lines = PAGE.splitlines()
    table = [
        f"| `{name}` | rows {drop_reasons.IN_WORDS[name]} | {cure} |" for name, cure in drop_reasons.REMEDIES.items()
    ]
    lacking = [line for line in table if line not in lines]
    assert not lacking, "\n".join(["docs/rows.md lacks these lines in its table of reasons:", *lacking])
    begin = lines.index("| Reason | Which rows | What to do |") + 2
    shown = lines[begin : lines.index("", begin)]
    too_many = [line for line in shown if line not in table]
    assert not too_many, "\n".join(
        ["docs/rows.md has lines for reasons that are not in the code, or read otherwise:", *too_many]
    )


def test_every_setting_that_a_cure_names_is_one() -> None:
    settings = (Path(__file__).parents[1] / "docs/settings.md").read_text(encoding="utf-8")
    names = {name for cure in drop_reasons.REMEDIES.values() for name in re.findall(r"`([a-z_.]+)`", cure)}
    assert len(names) > 10
    last = {name.rpartition(".")[2] for name in names}
    assert [
        name for name in sorted(last) if f"| `{name}` |" not in settings and f"[records.{name}]" not in settings
    ] == []


def test_the_columns_of_the_quarantine_are_those_of_the_page() -> None:
    table = PAGE.partition("| Column | What it holds |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == schemas.QUARANTINE.names


def test_the_example_of_the_page_runs(tiny: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    example = PAGE.partition("```python\n")[2].partition("```")[0]
    place = tiny.store.current("raw_records", EXTRACT).path
    exec(example.replace('"store"', repr(tiny.study.study.store)).replace("2024-01-01", EXTRACT), {})  # noqa: S102 (our own page)
    assert "date" in capsys.readouterr().out, "reasons, shortened as polars prints them"
    assert place.relative_to(tiny.study.study.store).parts[:3] == ("records", "raw_records", EXTRACT)
    assert f"`{'/'.join(('STORE', 'records', 'raw_records', 'EXTRACT', 'FINGERPRINT', 'quarantine'))}/`" in PAGE
