import subprocess
from pathlib import Path

import pytest

from ehr_pipeline import cli
from ehr_pipeline.cli import status
from ehr_pipeline.cli.summary import link_of_report, print_table
from ehr_pipeline.disclosure.figures import Guard
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.runs.run_outcome import Row
from ehr_pipeline_tests.conftest import write_settings


def complete(words: list[str], script: str) -> list[str]:
    """What bash offers for the last word."""
    asked = " ".join(f"'{word}'" for word in words)
    text = f"{script}\nCOMP_WORDS=({asked}); COMP_CWORD={len(words) - 1}; _ehr_pipeline; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)  # noqa: S607
    return done.stdout.split()


def test_bash_completes_commands_and_options() -> None:
    script = status.script(cli.parser())
    assert complete(["ehr-pipeline", "sta"], script) == ["status"]
    assert complete(["ehr-pipeline", "run", "--sel"], script) == ["--select"]
    assert complete(["ehr-pipeline", "completion", "z"], script) == ["zsh"]


def test_status_and_report_before_and_after_a_run(
    tiny: Pipeline, extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = write_settings(tmp_path / "none.toml", extract, tmp_path / "store")
    assert cli.main(["status", "--settings", str(none)]) == 0
    assert "was never made" in capsys.readouterr().out
    assert cli.main(["report", "--settings", str(none)]) == 2
    assert f"Build it: ehr-pipeline run --settings {none}" in capsys.readouterr().err
    link = link_of_report(tiny.study)
    assert link == tiny.store.root / "report.html"
    assert link.resolve() == tiny.store.current("cluster_reports").file("report.html")
    assert link_of_report(tiny.study) == link


def test_no_row_is_called_rejected_where_some_were_only_collapsed(capsys: pytest.CaptureFixture[str]) -> None:
    def printed(dropped: int) -> list[str]:
        counts = {"rows_in": 1000, "kept": 997 - dropped, "collapsed": 3, "dropped": {"unmapped": dropped}}
        print_table([Row("mapped_events", "", "made", 1000, 997 - dropped, 3, dropped, counts=counts)], Guard(10, 10))
        return capsys.readouterr().out.splitlines()[2].split()

    assert printed(0)[2:6] == ["1,000", "1,000", "<10", "–"]
    assert printed(4)[2:6] == ["1,000", "990", "<10", "<10"]
