"""Parts of the page that `error_rates.py` can measure by themselves: the test of traits, the audit, the neighbours of concepts."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from cohorts import SEED, Cohort

from ehr_pipeline.clusters import build as clusters
from ehr_pipeline.clusters import trait_correlations
from ehr_pipeline.clusters.evidence import WEAK_BELOW, Half
from ehr_pipeline.concepts.recorded_together import held_out, joint_visits
from ehr_pipeline.concepts.table import SCOPES, read_neighbours
from ehr_pipeline.embeddings.vectors import HALVES
from ehr_pipeline.reports.bias_audit import effect
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.statements.concepts import MAX_P
from ehr_pipeline.tables import asset_names as assets
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary


def audited(findings: Findings) -> dict[str, int]:
    """What the audit says of practice, and of region and ethnicity, which depend on the practice alone."""
    points, diseases = findings.clusters.points.astype(np.float64), findings.attributes["disease"]
    found = {
        name: effect(
            name, findings.attributes[name], findings.labels, points, diseases=diseases, seed=findings.inputs.seed
        )
        for name in ("practice", "region", "ethnicity")
    }
    said = {name: int(one.value is not None and not one.chance) for name, one in found.items()}
    return {
        "attributes": len(found),
        "attributes told": sum(said.values()),
        "attributes warned of": sum(one.words in ("medium", "large") for one in found.values()),
        "practice told": said["practice"],
    }


def near(cohort: Cohort) -> dict[str, int]:
    """Whether neighbours are said to be recorded together in the cohort's visits, and the same of concepts drawn at random.

    The encoder has not learned from these patients. Nothing is returned where it cannot be told.
    """
    read = cohort.artifacts(assets.PATIENT_DATASET, assets.CONCEPT_EMBEDDINGS, assets.VOCABULARY)
    vocabulary = Vocabulary.read(read[assets.VOCABULARY].path)
    known, shards = vocabulary.token_of, read[assets.PATIENT_DATASET].files("patients")
    rows = [row for row in read_neighbours(read[assets.CONCEPT_EMBEDDINGS].path) if row["scope"] == SCOPES[1]]
    pairs = [(known[row["concept"]], known[row["neighbour"]]) for row in rows]
    concepts, neighbours = np.array(pairs, np.int64).reshape(-1, 2).T
    with TemporaryDirectory() as folder:
        sides = [Path(folder) / path.name for path in shards]
        for path, side in zip(shards, sides, strict=True):
            ids = schemas.read(path, ["patient_id"]).column("patient_id")
            schemas.write(side, pa.table({"patient_id": ids, "side": ["apart"] * len(ids)}))
        visits = held_out(zip(shards, sides, strict=True), vocabulary.size)
    size = vocabulary.size - FIRST_CONCEPT
    steps = np.random.default_rng([SEED, cohort.number]).integers(1, size, len(concepts))  # never the concept itself
    random = FIRST_CONCEPT + (concepts - FIRST_CONCEPT + steps) % size
    told = {
        name: joint_visits(visits, concepts, others, SEED)
        for name, others in (("neighbours told", neighbours), ("random neighbours told", random))
    }
    return {name: int(one.p < MAX_P and one.low > 1) for name, one in told.items() if one is not None}


def compared(cohort: Cohort) -> trait_correlations.Records:
    """What the test of traits compares. It needs neither vectors nor clusters."""
    seed, people = cohort.learned.pipeline.study.study.seed, cohort.people()
    counts = [people.visits(people.part(name, seed)) for name in HALVES]
    none = np.zeros((len(people.cohort), 0), np.float32), np.zeros(len(people.cohort), bool)
    halves = Half(none[0], counts[0], none[1]), Half(none[0], counts[1], none[1])
    return clusters.compared_records(cohort.choose(), people, people.described(), halves, seed)


def traits_told(traits: dict[str, Any]) -> dict[str, int]:
    """What the page says of conditions that go together, and of those that cannot be compared (of `TraitCorrelations.as_dict`)."""
    own = traits["own"] or {"p": 1.0, "p_exclude": 1.0}
    depend = own["p"] <= trait_correlations.MAX_P
    return {
        "together": int(traits["found"] is True),
        "subgroups untold": int(traits["found"] is None),
        "own traits depend": int(depend),
        "own traits exclude": int(depend and own["p_exclude"] <= trait_correlations.MAX_P),
    }


def traits_again(cohort: Cohort, known: dict[str, Any]) -> dict[str, Any]:
    """What is known of a cohort with only the test of traits, which the verdict needs, made again."""
    study = cohort.learned.pipeline.study
    permutations, seed = study.clusters.permutations, study.study.seed
    found = trait_correlations.correlation_test(compared(cohort), permutations=permutations, seed=seed)
    told = known | traits_told(found.as_dict()) | {"p of traits": found.p}
    if known.get("persistent"):
        told["verdict"] = ("weak" if known["excess"] < WEAK_BELOW else "clear") if found.is_significant else "differ"
    return told
