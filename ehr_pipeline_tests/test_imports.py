"""What a process does not load: the library no Dagster, GPU workers no data libraries, the UI no torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline_tests.conftest import write_settings

HEAVY = (
    "torch",
    "transformers",
    "tokenizers",
    "sklearn",
    "scipy",
    "umap",
    "matplotlib",
    "numba",
    "wordcloud",
    "jinja2",
)


def loaded_by(statement: str, *modules: str) -> list[str]:
    code = f"import sys\n{statement}\nprint(*[m for m in {modules!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_library_does_not_load_dagster() -> None:
    stages = ("records", "events", "vocabulary", "concepts", "clusters", "reports")
    others = ("patients.dataset", "synthetic.generate", "runs.pipeline", "planning.preflight", "cli")
    imports = "; ".join(f"import ehr_pipeline.{part}" for part in (*(f"{stage}.build" for stage in stages), *others))
    assert loaded_by(imports, "dagster") == []


def test_gpu_workers_need_no_data_libraries() -> None:
    absent = ("polars", "sklearn", "umap", "matplotlib", "wordcloud", "jinja2", "dagster", "transformers")
    imports = "import ehr_pipeline.encoder.train, ehr_pipeline.embeddings.embed"
    imports += ", ehr_pipeline.predictions.answers_job, ehr_pipeline.predictions.tuning"
    assert loaded_by(f"sys.modules.update(dict.fromkeys({absent!r})); {imports}", "torch") == ["torch"]


def test_the_ui_does_not_load_heavy_packages() -> None:
    assert loaded_by("import ehr_pipeline.definitions as d; d.defs()", *HEAVY) == []


@pytest.mark.parametrize("process", ["serve", "dev", "webserver"])
def test_the_processes_of_the_ui_that_read_no_data_load_no_data_libraries(process: str) -> None:
    assert loaded_by(f"import ehr_pipeline.defs.{process}", "numpy", "polars", "pyarrow") == []


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_loads_nothing_that_takes_time(arguments: list[str]) -> None:
    asked = (
        "import contextlib, io; from ehr_pipeline.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): "
        f"main({arguments!r})\n"
    )
    assert loaded_by(asked, *HEAVY, "dagster", "numpy", "polars", "pyarrow", "pydantic") == []


def test_a_chain_in_which_nothing_changed_loads_no_heavy_package(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    """Only what is made needs the packages that make it."""
    path = write_settings(tmp_path / "settings.toml", extract, tiny.store.root)
    chain = (
        "from pathlib import Path; from ehr_pipeline.study.settings import load;"
        " from ehr_pipeline.runs.pipeline import Pipeline;"
        f" pipeline = Pipeline(load(Path({str(path)!r}))); made = pipeline.make({EXTRACT!r});"
        " [pipeline.check(name) for name in list(made)[1:]];"
        " assert all(one.skipped for one in made.values()), [name for name in made if not made[name].skipped]"
    )
    assert loaded_by(chain, *HEAVY, "dagster") == []


@pytest.mark.parametrize(
    ("name", "own", "found"),
    [
        ("GOMP_SPINCOUNT", None, "10000"),
        ("GOMP_SPINCOUNT", "7", "7"),
        ("OPENBLAS_THREAD_TIMEOUT", None, "14"),
        ("OPENBLAS_THREAD_TIMEOUT", "20", "20"),
    ],
)
def test_threads_wait_sparingly_wherever_the_package_is_imported(name: str, own: str | None, found: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != name}
    environment |= {name: own} if own else {}
    code = (
        f"import ehr_pipeline, os, sys; assert not {{'torch', 'numpy'}} & {{*sys.modules}}; print(os.environ[{name!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == found
