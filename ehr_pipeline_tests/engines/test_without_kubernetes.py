"""What needs no cluster: manifests and the API's published schema, the container recipe, the first process of a pod."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ehr_pipeline import cli
from ehr_pipeline.engines import engine_for, heartbeat, kubernetes
from ehr_pipeline.engines.kubernetes import Kubernetes
from ehr_pipeline.engines.settings import KubernetesSettings, LauncherSettings
from ehr_pipeline.errors import SettingsError, UserError
from ehr_pipeline.study import settings
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline_tests.conftest import write_settings
from ehr_pipeline_tests.engines import kubernetes_image
from ehr_pipeline_tests.processes import alive, until

ROOT = Path(__file__).parents[2]
VERSIONS = ("1.31", "1.34", "1.37")
"""Of the API: the oldest that we speak to, and newer ones."""


def launcher(processes: int = 1, **own: Any) -> LauncherSettings:
    chosen = KubernetesSettings(**({"image": "registry.example/worker:1", "volumes": {"/data": "ehr-data"}} | own))
    return LauncherSettings(backend="kubernetes", processes=processes, kubernetes=chosen)


def cluster(settings: LauncherSettings) -> Kubernetes:
    return Kubernetes(settings, Path("/data/store"))


def container(text: str) -> dict[str, Any]:
    (found,) = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_fit_the_published_schema(version: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    odd = launcher(
        processes=4,
        volumes={"/data": "ehr-data", '/a "b': "c"},
        job_gpus=1,
        job_gigabytes=8,
        bucket_gigabytes=0.5,
        bucket_cpus=0.5,
    )
    kinds: list[str] = []
    for each in (launcher(), odd, replace(odd, nodes=2)):
        for text in Kubernetes(each, Path("/data/store")).preview().values():
            found = cluster(each).parsed(text)
            for body in (found.job, *found.services):
                kubernetes_validate.validate(body, version, strict=True)
                kinds.append(body["kind"])
    assert (kinds.count("Job"), kinds.count("Service")) == (9, 2)
    broken = found.job
    broken["spec"]["backoffLimit"] = "many"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, version, strict=True)
    kubernetes_validate.validate(yaml.safe_load((ROOT / "deploy/role.yaml").read_text()), version, strict=True)


def test_a_manifest_has_what_the_settings_say() -> None:
    each = launcher(processes=2, job_gpus=1, job_cpus=4, job_gigabytes=16, bucket_cpus=2, bucket_gigabytes=1.5)
    folder = Path("/data/a $(HOME)/store")
    job = yaml.safe_load(cluster(each).for_job(folder, "ehr-train-1", "ehr_pipeline.encoder.train"))
    pod = job["spec"]["template"]["spec"]
    (work,) = pod["containers"]
    assert work["resources"] == {
        "requests": {"cpu": "8", "memory": "32000M"},
        "limits": {"memory": "32000M", "nvidia.com/gpu": "2"},
    }
    assert "--nproc-per-node=2" in work["command"]
    assert {"name": "OMP_NUM_THREADS", "value": "4"} in work["env"]
    assert work["command"][-1] == "/data/a $$(HOME)/store/job.json"
    assert pod["securityContext"]["runAsUser"] == os.getuid()
    assert pod["volumes"][1] == {"name": "volume-1", "persistentVolumeClaim": {"claimName": "ehr-data"}}
    assert work["volumeMounts"][1] == {"name": "volume-1", "mountPath": "/data"}
    assert "completions" not in job["spec"]
    buckets = yaml.safe_load(cluster(each).for_buckets(folder, "ehr-buckets-1", 7, []))
    assert (buckets["spec"]["completionMode"], buckets["spec"]["completions"]) == ("Indexed", 7)
    work = container(cluster(each).for_buckets(folder, "ehr-buckets-1", 7, []))
    assert work["resources"]["requests"] == {"cpu": "2", "memory": "1500M"}
    assert work["command"][-2:] == ["$(JOB_COMPLETION_INDEX)", "7"]
    assert {"name": "POLARS_MAX_THREADS", "value": "2"} in work["env"]


def test_a_job_on_several_nodes_is_an_indexed_job_whose_pods_know_each_other() -> None:
    each = replace(launcher(processes=6, job_gpus=1, job_cpus=4), nodes=2)
    text = cluster(each).for_job(Path("/data/store"), "ehr-train-1", "ehr_pipeline.encoder.train")
    found = cluster(each).parsed(text)
    spec, (service,) = found.job["spec"], found.services
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 2, 2)
    assert spec["backoffLimit"] == each.restarts * 2
    pod = spec["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"] == "ehr-train-1"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": "ehr-train-1"}
    (work,) = pod["containers"]
    assert work["resources"]["limits"] == {"nvidia.com/gpu": "3"}
    assert work["resources"]["requests"]["cpu"] == "12"
    assert "--nproc-per-node=3" in work["command"]
    assert "ehr-train-1-0.ehr-train-1" in work["command"]
    assert {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}} in work["env"]
    with pytest.raises(UserError, match="it gives no Service, by which the pods of a job on 2 nodes"):
        cluster(each).parsed(text.split("\n---\n")[0])


def test_a_site_edits_its_template(tmp_path: Path) -> None:
    ours = kubernetes.OURS.read_text()
    own = tmp_path / "site.yaml.j2"
    own.write_text(ours.replace("restartPolicy: Never", "restartPolicy: Never\n      nodeSelector: {disk: fast}"))
    each = launcher(template=str(own), volumes={})
    text = cluster(each).for_buckets(Path("/elsewhere"), "ehr-buckets-1", 1, [])
    assert cluster(each).parsed(text).job["spec"]["template"]["spec"]["nodeSelector"] == {"disk": "fast"}
    Kubernetes(each, Path("/elsewhere")).refuse_other_place()  # the template may mount what it likes
    for wrong, told in (
        ("{{ imege }}", r"launcher\.kubernetes\.template\): 'imege' is undefined"),
        ("{% if %}", r"launcher\.kubernetes\.template\), line 1"),
    ):
        own.write_text(wrong)
        with pytest.raises(UserError, match=told):
            cluster(each).for_buckets(Path("/elsewhere"), "x", 1, [])
    for wrong, told in (
        ("a: [", "is not YAML"),
        ("kind: Pod", "is not one Job"),
        ("", "is not one Job"),
        ("kind: Job\n---\nkind: Pod", "is not one Job"),
    ):
        with pytest.raises(UserError, match=told):
            cluster(each).parsed(wrong)


def test_a_store_that_pods_would_not_see_is_refused(tmp_path: Path) -> None:
    for store in ("/database/store", "/"):
        with pytest.raises(UserError, match=r"the volumes of the pods lie at /data \(launcher\.kubernetes\.volumes\)"):
            Kubernetes(launcher(), Path(store)).refuse_other_place()
    Kubernetes(launcher(), Path("/data/studies/store")).refuse_other_place()
    with pytest.raises(UserError, match="no place"):
        engine_for(launcher(volumes={}), tmp_path).check()


def test_settings_that_do_not_fit_are_refused() -> None:
    for own, told in (
        ({"backend": "kubernetes"}, "image is missing"),
        (
            {"backend": "kubernetes", "processes": 3, "nodes": 2, "kubernetes": {"image": "x"}},
            "must be a multiple of nodes",
        ),
        ({"kubernetes": {"volumes": {"data": "claim"}}}, "is not the whole path of a folder"),
    ):
        with pytest.raises(SettingsError, match=told):
            settings.load(shipped("demo/settings.toml"), {"launcher": own})


def test_without_the_client_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(UserError, match=r"pip install -c constraints.txt '\.\[k8s\]'"):
        engine_for(launcher(volumes={str(tmp_path): "x"}), tmp_path).check()


def test_the_command_prints_every_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = {"backend": "kubernetes", "kubernetes": {"image": "x", "volumes": {"/": "all"}}}
    study = write_settings(tmp_path / "study.toml", tmp_path, tmp_path / "store", launcher=own)
    assert cli.main(["job-scripts", "--settings", str(study)]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"^==> (.*)$", printed, re.MULTILINE) == ["work on buckets", "training", "embedding"]
    assert printed.count("kind: Job") == 3


# The container recipe.


@pytest.mark.slow
def test_workers_import_what_their_image_holds_and_no_more(tmp_path: Path) -> None:
    code = """
import json, sys
import ehr_pipeline.engines.pod, ehr_pipeline.engines.bucket_worker, ehr_pipeline.encoder.train, ehr_pipeline.embeddings.embed
import ehr_pipeline.records.finish_bucket, ehr_pipeline.events.build, ehr_pipeline.patients.dataset
import torch.distributed.run
from ehr_pipeline.tables import compiled_loop_cache, hashing
import numpy
hashing.bucket_of_numbers(numpy.arange(3), 2)  # a loop whose machine code is saved
numbers = numpy.arange(3, dtype=numpy.uint64)
compiled_loop_cache.by_numba(hashing._split_mix.__wrapped__)(numbers, numbers.copy())  # one that has to be compiled
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
    slim = os.environ | {"PYTHONPATH": f"{kubernetes_image.slim(tmp_path)}{os.pathsep}{ROOT}"}
    told = subprocess.run(
        [sys.executable, "-c", code], env=slim, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert told.returncode == 0, told.stderr
    imported = set(json.loads(told.stdout.splitlines()[-1]))
    when_a_checkpoint_is_written = {"tokenizers", "transformers"}  # of the latter, only its version
    assert imported >= set(kubernetes_image.of_image()) - when_a_checkpoint_is_written
    assert not {name for name in imported if name.startswith("dagster")}
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert set(kubernetes_image.of_image()) <= pinned


def test_the_recipe_copies_what_is_there_and_nothing_of_a_study() -> None:
    recipe = (ROOT / "deploy/Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (.*)$", recipe, re.MULTILINE) for word in line.split()[:-1]]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    let_in = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(let_in) == sorted(copied)
    assert not any(Path("data/studies").is_relative_to(name) for name in let_in)


# The first process of a pod.


def pod(folder: Path, lapse: float, code: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "ehr_pipeline.engines.pod", str(folder), str(lapse), sys.executable, "-c", code]
    return subprocess.Popen(command, cwd=ROOT)


@pytest.mark.parametrize(
    ("code", "ends"), [("", 0), ("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_a_pod_ends_as_its_command(tmp_path: Path, code: str, ends: int) -> None:
    assert pod(tmp_path, 60, code).wait(60) == ends


def test_an_error_of_the_user_has_a_code_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "error").write_text("the learning rate is too high")
    assert pod(tmp_path, 60, "raise SystemExit(1)").wait(60) == 2
    assert pod(tmp_path, 60, "").wait(60) == 0


@pytest.mark.slow
def test_a_pod_ends_when_its_sender_stands_still(tmp_path: Path) -> None:
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with heartbeat.beating(tmp_path, 2):
        running = pod(tmp_path, 2, code)
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(5)
    assert running.wait(30) == 75
    assert (tmp_path / heartbeat.LAPSED).exists()
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_pod_that_is_told_to_end_ends_its_command(tmp_path: Path) -> None:
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    running = pod(tmp_path, 60, code)
    assert until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == 143
    assert not alive(int((tmp_path / "pid").read_text()))
