"""Cohorts of one patient, of fewer than clusters, of identical patients, of one disease: a clear message or a sensible page."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.embeddings.vectors import Vectors
from ehr_pipeline.errors import GateFailed, UserError
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic.generate import EXTRACT, generate
from ehr_pipeline.terminology import snomed
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline_tests.conftest import tiny_settings

pytestmark = pytest.mark.slow
SIZES = {"lonely": 1, "nineteen": 19, "identical": 40}
BEFORE = list(ASSETS)[1 : list(ASSETS).index("cohort")]


def add_codes(terminology: Path) -> dict[str, str]:
    """A concept of its own for each edge, which nobody in the extract has; returns the codes."""
    codes = [str(code) for code in snomed.with_check_digit(np.arange(7_770_000, 7_770_000 + len(SIZES)) * 100)]
    atoms = [
        f"C888888{n}|ENG|P|L{n}|PF|S{n}|Y|A888{n}||{code}||SNOMEDCT_US|PT|{code}|{name}|9|N||\n"
        for n, (name, code) in enumerate(zip(SIZES, codes, strict=True))
    ]
    with (terminology / "MRCONSO.RRF").open("a", encoding="utf-8") as stream:
        stream.writelines(atoms)
    return dict(zip(SIZES, codes, strict=True))


def add_patients(folder: Path, codes: dict[str, str]) -> None:
    """One patient with the first code, nineteen with the second, and forty new ones whose records are the same with the third."""
    landing = folder / "landing" / EXTRACT
    people = [line.split("\t") for line in (landing / "patients.txt").read_text(encoding="latin-1").splitlines()[1:]]
    with (shipped("lists/diseases_of_interest.csv")).open(encoding="utf-8") as stream:
        pooled = [row["code"] for row in csv.DictReader(stream) if row["code"]][:6]
    grown = [person[0] for person in people if int(person[1]) < 1990]
    carried = dict.fromkeys(grown[1 : 1 + SIZES["nineteen"]], codes["nineteen"]) | {grown[0]: codes["lonely"]}
    lines = [
        f"{patient}\t01/06/{year}\t{code}"
        for number, (patient, own) in enumerate(carried.items())
        for year in (2013, 2014, 2015)
        for code in (own, pooled[number % len(pooled)])
    ]
    with (landing / "patients.txt").open("a", encoding="latin-1") as stream:
        for number in range(SIZES["identical"]):
            patient = str(900_000_000 + number)
            stream.write("\t".join([patient, *people[0][1:]]) + "\n")
            for year in range(2008, 2019, 2):
                lines += [f"{patient}\t01/06/{year}\t{code}" for code in (codes["identical"], *pooled)]
    text = "patient_id\tevent_date\tsnomed_code\n" + "\n".join(lines) + "\n"
    (landing / "events_900.txt").write_text(text, encoding="latin-1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extract with a store in which everything up to the cohort is made, and a list for each edge."""
    folder = tmp_path_factory.mktemp("edges")
    generate(folder, 300, seed=5, cohort_share=0.5)
    codes = add_codes(folder / "terminology")
    add_patients(folder, codes)
    for name, code in codes.items():
        (folder / f"{name}.csv").write_text(f"code,cui,name,source\n{code},,{name},test\n")
    pipeline = Pipeline(tiny_settings(folder, encoder={"max_epochs": 4}))
    pipeline.raw_records(EXTRACT)
    for asset in BEFORE:
        getattr(pipeline, asset)()
    return folder


def of(trained: Path, disease: str, **overrides: Any) -> Pipeline:
    """The study of one disease only, by its list."""
    listed = trained / f"{disease}.csv"
    path = listed if listed.is_file() else shipped(f"lists/{disease}.csv")
    cohort = [{"name": disease, "concepts": str(path)}]
    changes = {"clusters": {"truth": ""}, "encoder": {"max_epochs": 4}, **overrides}
    changes["embeddings"] = {"cohort": cohort, **overrides.get("embeddings", {})}
    return Pipeline(tiny_settings(trained, **changes))


def embedded(pipeline: Pipeline) -> int:
    """Make cohort and vectors; returns how many patients have one."""
    pipeline.cohort()
    return int(pipeline.patient_embeddings().counts["kept"])


def page(pipeline: Pipeline) -> str:
    """Everything from the clusters on; the words of the page."""
    pipeline.clusters()
    pipeline.patient_trajectories()
    html = pipeline.cluster_reports().file("report.html").read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)))


PRESETS = ("recommended", "published")


@pytest.mark.parametrize("preset", PRESETS)
def test_one_patient(trained: Path, preset: str) -> None:
    pipeline = of(trained, "lonely", embeddings={"preset": preset})
    assert embedded(pipeline) == 1
    with pytest.raises(
        UserError,
        match=r"Fewer than 10 patients cannot be divided into 8 clusters\. These are too few for any division",
    ):
        pipeline.clusters()


@pytest.mark.parametrize("preset", PRESETS)
def test_nineteen_patients_for_twenty_clusters(trained: Path, preset: str) -> None:
    pipeline = of(trained, "nineteen", embeddings={"preset": preset}, clusters={"truth": "", "n": 20})
    assert embedded(pipeline) == 19
    with pytest.raises(
        UserError, match=r"About 20 patients cannot be divided into 20 clusters\. Set clusters\.n to at most 6"
    ):
        pipeline.clusters()


@pytest.mark.parametrize("preset", PRESETS)
def test_what_the_message_advises_gives_a_page_that_betrays_nobody(trained: Path, preset: str) -> None:
    pipeline = of(
        trained, "nineteen", embeddings={"preset": preset}, clusters={"truth": "", "n": 6, "permutations": 20}
    )
    embedded(pipeline)
    words = page(pipeline)
    assert "Too few patients to test whether the clusters mean anything." in words
    assert "fewer than 10 patients each: too few to describe without risk to them" in words
    assert not [share for share in re.findall(r"about (\d+) %", words) if int(share) > 100]
    assert not re.search(r"\b[1-9] patients\b", words)


@pytest.mark.parametrize("preset", PRESETS)
def test_identical_patients(trained: Path, preset: str) -> None:
    pipeline = of(trained, "identical", embeddings={"preset": preset})
    assert embedded(pipeline) == SIZES["identical"]
    with pytest.raises(
        GateFailed, match=r"all patients have the same vector(:|, because) their pooled concepts do not differ"
    ):
        pipeline.clusters()


def test_identical_patients_have_no_direction(trained: Path) -> None:
    """Centred, nothing is left of them; rounding must not be scaled up to vectors that look different."""
    pipeline = of(trained, "identical")
    embedded(pipeline)
    vectors = Vectors.read(pipeline.store.current("patient_embeddings")).all()
    assert np.array_equal(vectors, np.zeros_like(vectors))


def test_one_disease(trained: Path) -> None:
    pipeline = of(trained, "psoriasis", clusters={"truth": "", "n": 3, "permutations": 20})
    assert embedded(pipeline) > 30
    words = page(pipeline)
    assert "Cohort by disease: psoriasis" in words
    assert "nan" not in words.lower().split()
