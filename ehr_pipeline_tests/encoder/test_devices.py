"""Which device a process takes, on machines with GPUs that the tests make up."""

import shutil
import sysconfig
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from ehr_pipeline.encoder import devices, hardware_choices
from ehr_pipeline.engines import ray
from ehr_pipeline.engines.settings import KubernetesSettings, LauncherSettings, RaySettings, SlurmSettings
from ehr_pipeline.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have torch find some GPUs of a capability. Returns the calls that would be made to CUDA, in order."""

    def there(count: int, capability: tuple[int, int] = (9, 0)) -> list[Any]:
        calls: list[Any] = []
        monkeypatch.delenv(devices.BFLOAT16_VARIABLE, raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(("set_device", device)))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200")
        monkeypatch.setattr(dist, "init_process_group", lambda *given, **named: calls.append((*given, named)))
        monkeypatch.setattr(dist, "new_group", lambda **_: None)
        monkeypatch.setattr(dist, "barrier", lambda _: calls.append("barrier"))
        monkeypatch.setattr(dist, "destroy_process_group", lambda: calls.append("destroyed"))
        return calls

    return there


def torchrun(monkeypatch: pytest.MonkeyPatch, rank: int, processes: int) -> None:
    environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    for name, value in (environment | {"TORCHELASTIC_RUN_ID": "x"}).items():
        monkeypatch.setenv(name, str(value))


def test_a_process_sets_its_gpu_before_it_joins_the_others(gpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torchrun(monkeypatch, 1, 2)
    calls = gpus(2)
    with devices.process_group(needs_gpu=True) as device:
        assert device == torch.device("cuda", 1)
        assert devices.name_of(device) == "NVIDIA H200"
    assert calls == [("set_device", device), ("nccl", {"device_id": device}), "barrier", "destroyed"]


def test_a_process_that_fails_does_not_wait_for_the_others(gpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torchrun(monkeypatch, 0, 2)
    calls = gpus(2)

    class World:
        WORLD = type("Group", (), {"abort": staticmethod(lambda: calls.append("aborted"))})

    monkeypatch.setattr(dist, "group", World)
    with pytest.raises(KeyError), devices.process_group():
        raise KeyError
    assert calls[2:] == ["aborted"]


@pytest.mark.parametrize("rank", [0, 3])
def test_more_processes_than_gpus_are_refused_in_all_of_them_before_any_starts(
    gpus: Any, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    torchrun(monkeypatch, rank, 4)
    calls = gpus(2)
    with pytest.raises(UserError, match=r"4 processes .* torch finds 2 GPUs"), devices.process_group():
        pass
    assert calls == []


def test_a_gpu_that_is_needed_and_not_found_is_an_error_and_one_that_is_not_used_a_warning(
    gpus: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gpus(0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(UserError, match=r"needs a GPU, but torch .* finds no GPU .*driver"):
        devices.device_of_process(needs_gpu=True)
    assert devices.device_of_process(needs_gpu=False) == torch.device("cpu")
    assert caplog.text == ""
    monkeypatch.setattr(devices, "NVIDIA", tmp_path)
    assert devices.device_of_process(needs_gpu=False) == torch.device("cpu")
    assert "This machine has a GPU, but torch" in caplog.text
    caplog.clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    devices.device_of_process(needs_gpu=False)
    assert caplog.text == "", "it is meant not to be used"


def test_under_ray_each_process_sees_one_gpu_and_without_gpus_none(gpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(1)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with_gpu = ray._environment(2, ["a", "b", "b"], {"CPU": 1.0, "GPU": 1.0})
    assert "CUDA_VISIBLE_DEVICES" not in with_gpu
    assert (with_gpu["RANK"], with_gpu["WORLD_SIZE"], with_gpu["LOCAL_WORLD_SIZE"]) == ("2", "3", "2")
    for name, value in with_gpu.items():
        monkeypatch.setenv(name, value)
    assert devices.device_of_process(needs_gpu=True) == torch.device("cuda", 0)
    assert ray._environment(0, ["a"], {"CPU": 1.0})["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(("job_gpus", "there", "warned"), [(0, 8, True), (1, 8, False), (0, 0, False)])
def test_gpus_of_a_ray_cluster_that_no_job_asks_for_are_a_warning(
    job_gpus: int, there: int, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    class Cluster:
        @staticmethod
        def nodes() -> list[dict[str, Any]]:
            return [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": float(there)}}]

    monkeypatch.setattr(ray, "_connected", lambda _: nullcontext(Cluster))
    ray.Ray(LauncherSettings(backend="ray", ray=RaySettings(job_gpus=job_gpus)), tmp_path).check()
    assert ("The Ray cluster has GPUs" in caplog.text) == warned


@pytest.mark.parametrize(("capability", "precision"), [((7, 0), "float32"), ((8, 0), "bfloat16")])
def test_a_v100_computes_in_float32_and_an_a100_in_bfloat16(
    gpus: Any, capability: tuple[int, int], precision: str
) -> None:
    gpus(1, capability)
    assert hardware_choices.precision_for("auto", torch.device("cuda", 0)) == precision


def test_the_launcher_needs_gpus_where_the_settings_ask_for_them() -> None:
    def slurm(*options: str) -> LauncherSettings:
        return LauncherSettings(backend="slurm", slurm=SlurmSettings(job_options=options))

    asking = (
        LauncherSettings(require_gpu=True),
        LauncherSettings(backend="ray", ray=RaySettings(job_gpus=1)),
        LauncherSettings(backend="kubernetes", kubernetes=KubernetesSettings(image="x", job_gpus=1)),
        *(
            slurm("--time=1", each)
            for each in ("--gres=gpu:8", "--gres gpu", "--gpus-per-node=8", "-G4", "--gres=tmp:1,gpu:2")
        ),
    )
    assert all(each.needs_gpu for each in asking)
    others = (
        LauncherSettings(),
        LauncherSettings(ray=RaySettings(job_gpus=1)),
        slurm("--partition=gpu", "--gres=tmp:100"),
    )
    assert not any(each.needs_gpu for each in others)


def test_a_gpu_compiles_only_with_what_triton_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gpu, programs = torch.device("cuda", 0), {"g++", "gcc"}
    monkeypatch.setattr(shutil, "which", lambda name: name if name in programs else None)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    assert not devices.compiles(gpu, "auto")
    assert "Python.h" in caplog.text
    (tmp_path / "Python.h").touch()
    assert devices.compiles(gpu, "auto")
    assert not devices.compiles(torch.device("cpu"), "auto")
    programs.remove("gcc")
    caplog.clear()
    assert not devices.compiles(gpu, "auto")
    assert "a C compiler" in caplog.text
    assert devices.compiles(torch.device("cpu"), "on")


def test_the_image_of_the_workers_has_a_compiler() -> None:
    worker = (ROOT / "deploy/Dockerfile").read_text().partition(" AS server")[0]
    for package in ("gcc", "g++", "libc6-dev"):
        assert f" {package}" in worker.partition("apt-get install")[2]
