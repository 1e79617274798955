import dataclasses
import gzip
import re
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline import cli
from ehr_pipeline.errors import UserError
from ehr_pipeline.planning import Machines, plan, rates, rows_in_files
from ehr_pipeline.planning.plan import ROWS_PER_PATIENT, measured, mflop
from ehr_pipeline.planning.rates import Basis
from ehr_pipeline.study import settings
from ehr_pipeline.terminology.shipped import shipped

RESULTS = (Path(__file__).parents[2] / "benchmarks/RESULTS.md").read_text(encoding="utf-8")

KUBERNETES = {"backend": "kubernetes", "kubernetes": {"image": "x"}}


def study(**overrides: object) -> settings.Study:
    return settings.load(shipped("demo/settings.toml"), {"encoder": {"preset": "published"}} | overrides)


def section(script: str) -> str:
    return RESULTS.split(f"<!-- {script} -->")[1].split(f"<!-- end of {script} -->")[0]


def row(script: str, *begins: str) -> list[str]:
    """The cells of the row of a table that begins so."""
    for line in section(script).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[: len(begins)] == list(begins):
            return cells
    raise AssertionError(begins)


def test_rates_are_those_that_were_measured() -> None:
    _, _, _, _, *stages, memory = row("data_scale.py", "10 times the rows")
    assert memory == f"{rates.RUN_GIGABYTES}"
    assert [f"{rate.seconds:.1f}" for _, rate in measured()] == stages
    assert "30,000,000 rows, two workers" in section("data_scale.py")
    assert {(rate.rows, rate.workers) for _, rate in measured()} == {(3e8, 2)}
    assert f"{rates.BYTES_PER_EVENT} bytes an event" in section("data_scale.py")
    assert row("training.py", "ours")[1] == f"{rates.CPU_TOKENS:,.0f}"
    assert f"A real token needs {rates.CPU_TOKEN_MFLOP:.0f} MFLOP" in section("training.py")
    assert row("training_memory.py", "40,000")[2] == f"{rates.TRAINING_GIGABYTES}"
    assert row("embedding.py", "4%")[3] == f"{rates.EMBEDDED_TOKENS:,.0f}"
    assert row("clustering.py", "easy", "ours")[2] == f"{rates.CLUSTER_SECONDS:.1f}"
    assert f"{rates.CLUSTER_PATIENTS:,} x 256" in section("clustering.py")


def test_shares_and_overheads_are_those_that_were_measured() -> None:
    two = row("backends.py", "processes", "2")
    for place, stage in enumerate(("raw_records", "mapped_events", "patient_dataset")):
        outside, inside = (float(cell) for cell in two[2 + 2 * place : 4 + 2 * place])
        assert dict(measured())[stage].alone == pytest.approx(outside / (outside + inside), abs=0.01)
    for backend, seconds in rates.OVERHEAD.items():
        assert seconds == pytest.approx(float(row("backends.py", backend, "2")[8]), abs=0.06)


def test_the_reckoned_operations_of_a_token_are_those_of_the_benchmark() -> None:
    assert mflop(study().encoder) == pytest.approx(rates.CPU_TOKEN_MFLOP, rel=0.05)


def test_the_measured_run_is_reckoned_right() -> None:
    own = study(records={"workers": 2}, events={"workers": 2}, patients={"workers": 2})
    made = plan(own, 3e8, Machines.read(["1x2x24"]))
    for need in made.needs[:4]:
        assert need.seconds["processes"] == pytest.approx(dict(measured())[need.stage].seconds)


def test_more_machines_and_faster_cores_take_less_time() -> None:
    def total(machines: str, speed: float = 1.0, backend: str = "ray") -> float:
        return (
            plan(study(launcher={"processes": 8}), 3e9, Machines.read([machines]), gpu_tokens=1e6, speed=speed).total(
                backend
            )
            or 0
        )

    assert total("8x32x256x1") < total("2x32x256x1") < total("1x32x256x1")
    assert total("8x32x256x1", speed=2) < total("8x32x256x1")
    assert total("8x32x256x1", backend="inline") == total("1x32x256x1", backend="inline")


def test_training_on_a_gpu_is_known_only_when_it_was_measured() -> None:
    machines, own = Machines.read(["2x32x256x4"]), study(launcher={"backend": "slurm", "processes": 8})
    unknown = plan(own, 3e9, machines)
    assert unknown.total("slurm") is None
    assert "not known" in unknown.text()
    training = next(
        need for need in plan(own, 3e9, machines, gpu_tokens=1e6).needs if need.stage == "encoder_checkpoint"
    )
    seconds = own.encoder.max_epochs * 3e9 / (8 * 1e6) * mflop(own.encoder) / rates.CPU_TOKEN_MFLOP
    assert training.seconds["slurm"] == pytest.approx(seconds)
    assert training.gpus == 8
    assert training.measured == "your GPU"
    assert {need.stage: need.measured for need in unknown.needs}["encoder_checkpoint"] == "no GPU"
    assert any(kind == Basis.RECKONED and "no GPU was measured" in text for kind, text in unknown.assumptions)


def test_what_is_reckoned_is_not_called_measured() -> None:
    """Each stage names the size at which its time was measured; a figure that is called measured comes from a script."""
    made = plan(study(), 3e9, Machines.read(["8x32x256"]))
    assert {need.stage: need.measured for need in made.needs}["raw_records"] == "300 M rows (this is 10 times that)"
    assert next(need for need in made.needs if need.stage == "clusters").measured == "53,228 patients"
    assert all(need.measured for need in made.needs)
    assert all(".py)" in text for kind, text in made.assumptions if kind == Basis.MEASURED)
    smaller = plan(study(), 3e8, Machines.read(["8x32x256"]))
    assert smaller.needs[0].measured == "300 M rows"


@pytest.mark.parametrize(
    ("machines", "overrides", "told"),
    [
        ("1x64x16", {"records": {"workers": 64, "buckets": 64}}, "records.workers = 64 takes"),
        ("1x64x256", {"records": {"workers": 2}}, "leaves most of 64 cores idle"),
        ("4x2x16", {}, "launcher.backend = 'processes' uses one of 4 machines"),
        ("2x8x64x4", {"launcher": {"backend": "slurm"}}, "launcher.processes = 1, but 8 GPUs can be used"),
        ("2x8x64x1", {"launcher": {"backend": "ray", "processes": 2}}, "asks Ray for no GPU"),
        (
            "2x8x64",
            {"launcher": {"backend": "ray", "ray": {"bucket_gigabytes": 0.01}}},
            "launcher.ray.bucket_gigabytes = 0.01",
        ),
        ("2x8x64x1", {"launcher": KUBERNETES}, "asks the cluster for no GPU"),
        (
            "2x8x64",
            {"launcher": KUBERNETES | {"kubernetes": {"image": "x", "bucket_gigabytes": 0.01}}},
            "launcher.kubernetes.bucket_gigabytes = 0.01",
        ),
        ("1x2x16", {}, "a run takes"),
    ],
)
def test_what_does_not_fit_is_told(machines: str, overrides: dict[str, object], told: str) -> None:
    base = {"records": {"buckets": 0}}
    own = study(**settings.merged(base, overrides))  # type: ignore[arg-type]
    assert any(told in problem for problem in plan(own, 3e9, Machines.read([machines])).problems)


def test_what_fits_is_told() -> None:
    own = study(records={"workers": 2, "buckets": 0})
    made = plan(dataclasses.replace(own), 1e6, Machines.read(["1x2x16"]))
    assert made.problems == []
    assert "The settings fit." in made.text()


def seconds_of_tasks(own: settings.Study, **given: Any) -> float | None:
    made = plan(own, 5000 * ROWS_PER_PATIENT, Machines.read(["1x2x16"]), **given)
    return next((need.seconds["processes"] for need in made.needs if need.stage == "task_results"), 0.0)


def test_tasks_and_fine_tuning_have_their_time() -> None:
    demo = settings.load(shipped("demo/settings.toml"))
    assert len(demo.tasks.task) == rates.TASKS
    assert seconds_of_tasks(demo) == pytest.approx(rates.TASKS_SECONDS)
    measured_once = float(row("demo.py", "task_results")[-1])
    assert measured_once == pytest.approx(rates.TASKS_SECONDS, rel=0.4), "the demo is measured again and again"
    none = settings.with_overrides(demo, {"tasks": {"task": []}})
    assert seconds_of_tasks(none) == 0
    tuned = settings.with_overrides(demo, {"predictions": {"fine_tuning": {"heads": ["mask"]}, "labels": [10]}})
    two = settings.with_overrides(tuned, {"predictions": {"fine_tuning": {"heads": ["mask", "sum"]}}})
    of_one = (seconds_of_tasks(tuned) or 0) - rates.TASKS_SECONDS
    assert (seconds_of_tasks(two) or 0) - rates.TASKS_SECONDS == pytest.approx(2 * of_one)
    # Five samples of ten labels and one of all, four epochs each; the large one also to choose the number of epochs.
    split = demo.patients.split
    judged = 5000 * (split.test_share + split.validation_share)
    histories = 6 * judged + 3 * 4 * (5 * 10 + 1.8 * (5000 - judged))
    rate = rates.EMBEDDED_TOKENS * rates.CPU_TOKEN_MFLOP / mflop(demo.encoder)
    tasks = rates.TASKS - 1  # a death has no concept to predict
    assert of_one == pytest.approx(tasks * histories * demo.encoder.context / rate)
    assert "fine-tuning (mask): the encoder reads" in plan(tuned, 5e6, Machines.read(["1x2x16"])).text()


def test_rows_are_counted_in_the_files_where_none_are_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extract = tmp_path / "landing/2024-01-01"
    extract.mkdir(parents=True)
    line = "patient-1\t2001-02-03\t195967001\n"
    (extract / "events_1.txt").write_text("patient_id\tevent_date\tsnomed_code\n" + 50_000 * line)
    with gzip.open(extract / "events_2.txt.gz", "wt") as stream:
        stream.write("patient_id\tevent_date\tsnomed_code\n" + "".join(f"{n}{line}" for n in range(30_000)))
    own = study(records={"landing": str(tmp_path / "landing")})
    found = rows_in_files.estimated(own)
    assert found.rows == pytest.approx(80_000, rel=0.1)
    assert (found.patients, "of 2 event files" in found.how) == (None, True), "there is no file of patients yet"
    (extract / "patients.txt").write_text("patient_id\tsex\n" + 5_000 * "patient-1\tF\n")
    assert rows_in_files.estimated(own).patients == 5001
    made = plan(own, found.rows, Machines.read(["1x2x16"]), patients=1000, counted=found.how)
    assert f"- {found.how}" in made.text()
    assert any("1,000 patients, 80 rows each" in text for _, text in made.assumptions)
    (extract / "events_1.txt").unlink()
    (extract / "events_2.txt.gz").unlink()
    with pytest.raises(UserError, match="as --rows"):
        rows_in_files.estimated(own)


def test_machines_are_read() -> None:
    found = Machines.read(["2x8x64", "1x32x256.5x8"])
    assert (len(found.each), found.cores, found.gpus, found.first.gpus) == (3, 48, 8, 0)
    for wrong in ("8", "0x8x64", "2x8", "axbxc"):
        with pytest.raises(UserError, match="is not COUNTxCORESxGIGABYTES"):
            Machines.read([wrong])


def test_the_command_prints_every_stage_and_assumption(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(shipped("demo/settings.toml"))
    assert cli.main(["plan", "--settings", path, "--rows", "1e6", "--machines", "1x2x16"]) == 0
    printed = capsys.readouterr().out
    for stage in (*dict(measured()), "encoder_checkpoint", "patient_embeddings", "clusters", "together"):
        assert re.search(rf"^{stage} ", printed, re.MULTILINE)
    for basis in Basis:
        assert f"\n{basis}:\n- " in printed
    assert cli.main(["plan", "--settings", path, "--rows", "3e9", "--machines", "1x2x16"]) == 1
    assert cli.main(["plan", "--settings", path, "--rows", "0", "--machines", "1x2x16"]) == 2


def test_each_loss_beside_the_objective_passes_through_the_layers_again() -> None:
    machines = Machines.read(["2x32x256x4"])
    beside = {"contrastive": {"weight": 0.1}, "metadata": {"weight": 0.1, "attributes": ["sex"]}}

    def seconds(encoder: dict[str, object], stage: str) -> float:
        own = study(launcher={"backend": "slurm", "processes": 8}, encoder={"preset": "published", **encoder})
        needs = plan(own, 3e9, machines, gpu_tokens=1e6).needs
        return next(need for need in needs if need.stage == stage).seconds["slurm"] or 0.0

    plain = study().encoder
    layers = mflop(plain, passes=2) - mflop(plain)
    expected = 1 + 2 * layers / mflop(plain)
    assert seconds(beside, "encoder_checkpoint") == pytest.approx(expected * seconds({}, "encoder_checkpoint"))
    assert seconds(beside, "patient_embeddings") == pytest.approx(seconds({}, "patient_embeddings"))


def test_an_encoder_that_is_used_as_it_came_takes_no_time_to_train() -> None:
    direct = {"preset": "published", "transfer": {"checkpoint": "theirs", "use": "direct"}}
    made = plan(study(encoder=direct), 3e9, Machines.read(["8x32x256"]))
    (training,) = (need for need in made.needs if need.stage == "encoder_checkpoint")
    assert training.seconds["processes"] == 0
    assert any("all 0 epochs" in text for _, text in made.assumptions)
