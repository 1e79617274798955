"""Another site's encoder, on the world `sites`: what of its worth is kept where 30 % of the codes are others.

For each seed a world is drawn and divided by practice into two studies, each with its own vocabulary and test set. The second site
writes 30 % of the most used codes as other codes, which the first never uses. Those for what the first does not use at all
(unmapped, administrative) are left out, as they would be there. An encoder is trained at each. What is asked: does a
vector tell who is frail (above the median of the planted factor of the hazards of many diagnoses), on the second site's test set,
better than age and sex do? `direct`: encoder and classifier of the first site, neither changed; `tuned`: the encoder trained
further at the second, and a classifier from there; `local`: both from the second site. Site predictability: AUROC of telling the
site from vectors of both test sets, among patients alike in age, sex, number of visits and frailty.

Direct use begins unknown codes in several ways:

- `ids alone`: they are left out of the records;
- `mean`, `names`: as the setting says. The generator's synonyms are real codes of another meaning, so their names lead astray;
- `names of the meaning`: as they would be at a site that names its own codes by what they mean. Names are those of the codes that
  they stand for, whose vectors are kept from the regression, so that nothing of that name was learned;
- `merged`: as if a mapping said which codes mean the same: all that names could tell.

Figures of each seed stay in the folder of --keep, with the extracts and the trained encoders, and are not measured again.

Usage: python benchmarks/transfer.py [--patients 2400] [--seeds 0] [--epochs 10] [--keep FOLDER]; ten minutes a seed
"""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import results
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from two_sites import Floats, Site, counts, divide, meaningless, meanings, site_of, study_in

from ehr_pipeline.assets.identity import encoder_shape
from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.embeddings.sites import Removal, predictability
from ehr_pipeline.encoder import checkpoint, evaluate, transfer
from ehr_pipeline.encoder.initial_weights import GROWING
from ehr_pipeline.encoder.metrics import read as read_metrics
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.objectives import objective_of
from ehr_pipeline.encoder.roberta_weights import StockWeights
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.predictions.answers_job import mean_vectors
from ehr_pipeline.predictions.metrics import auroc, interval, times_drawn
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import hash_of
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.worlds.write import is_there, write
from ehr_pipeline.tables.asset_names import DATA_SPLIT, ENCODER_CHECKPOINT, PATIENT_DATASET, VOCABULARY
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

DRAWS, DIRECTIONS = 1_000, 100
PLANS = ["sites"]
DIRECT = ("ids alone", "mean", "names", "names of the meaning", "merged")


def vectors(model: PackedEncoder, site: Site, without: NDArray[np.bool_] | None = None) -> Floats:
    """The mean vector (P, D) of each whole record; `without` flags token ids that are left out of the records."""
    how = Inference(**encoder_shape(site.pipeline.study) | {"precision": "float32"}, batch_tokens=4096)
    found = []
    for shard in site.shards:
        if without is not None:
            size = len(without)
            shard = dataclasses.replace(shard, tokens=np.where(without[shard.tokens], size, shard.tokens)).below(size)
        found.append(mean_vectors(model, shard, how))
    return np.concatenate(found).astype(np.float64)


def loss_of(model: PackedEncoder, site: Site) -> float:
    """The loss on the site's validation set, as its own training computes it."""
    study, store = site.pipeline.study, site.pipeline.store
    chosen = study.encoder
    objective = objective_of(chosen, site.vocabulary, study.study.seed)
    shape = (chosen.context, chosen.age_unit, chosen.max_positions)
    split = store.current(DATA_SPLIT).file("split")
    validation = Sequences.open(store.current(PATIENT_DATASET).file("patients"), *shape, split=split, side="validation")
    parts = evaluate.evaluation_parts(objective, validation, chosen.context, study.study.seed, 1)
    sums = evaluate.evaluate(model, objective, parts, torch.device("cpu"), "float32")
    return float(objective.scores(sums)["loss"])


def begun(source: Path, own: Vocabulary, mean: Mapping[str, str], way: str, chosen: EncoderSettings) -> Any:
    """The first site's encoder with the second's vocabulary in one of the ways of DIRECT: model, unknown concepts, explained."""
    theirs = Vocabulary.read(source)
    learned = checkpoint.load(source, theirs, torch.device("cpu")).stock
    names = {one.concept: one.name for one in theirs.concepts}
    concepts = own.concepts
    if way == "merged":
        concepts = tuple(dataclasses.replace(one, concept=mean.get(one.concept, one.concept)) for one in concepts)
    unknown = [one.concept for one in concepts if one.concept not in names]
    if way == "names of the meaning":
        concepts = tuple(
            dataclasses.replace(one, name=names.get(mean.get(one.concept, ""), one.name))
            if one.concept in unknown
            else one
            for one in concepts
        )
        learned, theirs = without_concepts(learned, theirs, {mean[one] for one in unknown if one in mean}, chosen)
    named = dataclasses.replace(own, concepts=concepts)
    place = np.array([theirs.token_of.get(one.concept, -1) for one in concepts], np.int64)
    where = dataclasses.replace(chosen.transfer, unknown="names" if way.startswith("names") else "mean")
    model, explained = transfer.carried(learned, theirs, named, place, dataclasses.replace(chosen, transfer=where))
    return PackedEncoder(model).eval(), place < 0, explained


def without_concepts(
    learned: StockWeights, theirs: Vocabulary, some: set[str], chosen: EncoderSettings
) -> tuple[StockWeights, Vocabulary]:
    """The same encoder without the rows of some concepts."""
    kept = [one for one in theirs.concepts if one.concept not in some]
    rows = [*range(FIRST_CONCEPT), *(one.token_id for one in kept)]
    concepts = tuple(dataclasses.replace(one, token_id=FIRST_CONCEPT + n) for n, one in enumerate(kept))
    fewer = Vocabulary(concepts, hash_of([one.concept for one in concepts]))
    model = new_model(config_for(chosen, fewer.size, fewer.hash), 0)
    before = dict(learned.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(before[name][rows] if name in GROWING else before[name])
    return model, fewer


def with_known(site: Site, columns: Floats) -> Floats:
    """Age, sex and further columns (P, …) of a site's patients."""
    return np.hstack([site.known, columns])


class Probe:
    """A classifier of who is frail: logistic regression on standardised columns, fitted on a site's learning patients."""

    def __init__(self, site: Site, columns: Floats, median: float):
        self.model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2_000))
        self.model.fit(columns[site.learning], (site.frailty > median)[site.learning])

    def judged(self, site: Site, columns: Floats) -> Floats:
        """Scores of a site's test set."""
        found: Floats = self.model.decision_function(columns[~site.learning])
        return found


def reduction(table: sp.csr_matrix) -> TruncatedSVD:
    """The leading directions of counts."""
    return TruncatedSVD(min(DIRECTIONS, table.shape[1]), random_state=0).fit(table)


def measured(folder: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one seed."""
    if not is_there(folder, PLANS, options.patients, seed):
        write(folder, PLANS, options.patients, seed)
    first, second = (Pipeline(study_in(folder, site, seed, options.epochs)) for site in (1, 2))
    if not (folder / "landing2").is_dir():
        divide(folder, 1)
        first.make(EXTRACT, until=VOCABULARY)
        divide(folder, 2, meaningless(folder, first))
    first.make(EXTRACT, until=ENCODER_CHECKPOINT)
    a = site_of(first, folder)
    other = str(a.checkpoint)
    figures: dict[str, Any] = {}
    tuned = Pipeline(study_in(folder, 2, seed, options.epochs, checkpoint=other))
    tuned.make(EXTRACT, until=ENCODER_CHECKPOINT)
    figures["share of events"] = tuned.store.current(ENCODER_CHECKPOINT).counts["transfer"]["share_of_events"]
    own, cpu = Vocabulary.read(tuned.store.current(VOCABULARY).path), torch.device("cpu")
    trained = {"tuned": checkpoint.load(tuned.store.current(ENCODER_CHECKPOINT).file("checkpoint"), own, cpu)}
    losses = {"tuned": read_metrics(tuned.store.current(ENCODER_CHECKPOINT).path)["best"]["validation_loss"]}
    second.make(EXTRACT, until=ENCODER_CHECKPOINT)
    b = site_of(second, folder)
    metrics = read_metrics(second.store.current(ENCODER_CHECKPOINT).path)
    losses["local"], losses["by frequency"] = metrics["best"]["validation_loss"], metrics["baseline"]["loss"]
    trained["local"] = checkpoint.load(b.checkpoint, own, cpu)
    median = float(np.median(np.concatenate([a.frailty, b.frailty])))
    scores, sites = scored(a, b, own, meanings(folder), trained, losses, median, figures)
    label = (b.frailty > median)[~b.learning]
    return figures | summed_up(scores, label, seed) | {"losses": losses, "sites": sites, "patients": len(label)}


def scored(
    a: Site,
    b: Site,
    own: Vocabulary,
    mean: Mapping[str, str],
    trained: Mapping[str, PackedEncoder],
    losses: dict[str, float],
    median: float,
    figures: dict[str, Any],
) -> tuple[dict[str, Floats], dict[str, Any]]:
    """Scores of the second site's test set by each way to rank, and how well the site is told from each way's vectors."""
    chosen, theirs = b.pipeline.study.encoder, a.vocabulary
    place = np.array([theirs.token_of.get(one.concept, -1) for one in own.concepts], np.int64)
    scores = {"age and sex": Probe(b, b.known, median).judged(b, b.known)}
    at_home = np.arange(FIRST_CONCEPT, theirs.size)
    theirs_counts, shared = counts(a, theirs.size, at_home), counts(b, theirs.size, place)
    ours = counts(b, own.size, np.arange(FIRST_CONCEPT, own.size))
    svd = reduction(theirs_counts[a.learning])
    probe = Probe(a, with_known(a, svd.transform(theirs_counts)), median)
    scores["counts, direct"] = probe.judged(b, with_known(b, svd.transform(shared)))
    svd = reduction(ours[b.learning])
    local = with_known(b, svd.transform(ours))
    scores["counts, local"] = Probe(b, local, median).judged(b, local)
    for name, model in trained.items():
        columns = with_known(b, vectors(model, b))
        scores[name] = Probe(b, columns, median).judged(b, columns)
    encoder = checkpoint.load(a.checkpoint, theirs, torch.device("cpu"))
    of_a = vectors(encoder, a)
    probe, sites = Probe(a, with_known(a, of_a), median), {}
    figures["at home"] = auroc(
        (a.frailty > median)[~a.learning], probe.judged(a, with_known(a, of_a)), np.ones((~a.learning).sum())
    )
    of_age = Probe(a, a.known, median).judged(a, a.known)
    figures["age and sex at home"] = auroc((a.frailty > median)[~a.learning], of_age, np.ones(len(of_age)))
    for way in DIRECT:
        model, unknown, explained = begun(a.checkpoint, own, mean, way, chosen)
        left_out = np.concatenate([np.zeros(FIRST_CONCEPT, bool), unknown]) if way == "ids alone" else None
        of_b = vectors(model, b, left_out)
        scores[f"direct, {way}"] = probe.judged(b, with_known(b, of_b))
        figures[f"explained by {way}"] = explained
        often = np.array([one.appearances for one in own.concepts])
        figures[f"unknown, {way}"] = float(often[unknown].sum() / often.sum())
        if left_out is None:
            losses[f"direct, {way}"] = loss_of(model, b)
        sites[f"direct, {way}"] = told_apart(a, b, of_a, of_b)
        moved = removed(a, b, of_a, of_b)
        again = Probe(a, with_known(a, moved[0]), median)
        scores[f"direct, {way}, site removed"] = again.judged(b, with_known(b, moved[1]))
        sites[f"direct, {way}, site removed"] = told_apart(a, b, *moved)
    return scores, sites


def _alike(a: Site, b: Site, use: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> tuple[NDArray[np.bool_], Floats]:
    """Whether patients are of the second site, and what they must be alike in: age, sex, visits and frailty."""
    parts = [np.column_stack([s.known, s.visits, s.frailty])[rows] for s, rows in zip((a, b), use, strict=True)]
    return np.repeat([False, True], [len(part) for part in parts]), np.concatenate(parts)


def told_apart(a: Site, b: Site, of_a: Floats, of_b: Floats) -> list[float] | None:
    """Site predictability of both test sets, with its interval and the number of matched patients."""
    second, covariates = _alike(a, b, (~a.learning, ~b.learning))
    found = predictability(np.concatenate([of_a[~a.learning], of_b[~b.learning]]), second, covariates, seed=0)
    return None if found is None else [found.auroc, found.low, found.high, found.patients]


def removed(a: Site, b: Site, of_a: Floats, of_b: Floats) -> tuple[Floats, Floats]:
    """Vectors of both sites without the site, which is learned on patients of no test set, without their frailty."""
    second, covariates = _alike(a, b, (a.learning, b.learning))
    removal = Removal.fit(np.concatenate([of_a[a.learning], of_b[b.learning]]), second, covariates[:, :3])
    moved = [removal.apply(of, np.full(len(of), site)) for of, site in ((of_a, False), (of_b, True))]
    return moved[0].astype(np.float64), moved[1].astype(np.float64)


def summed_up(scores: Mapping[str, Floats], label: NDArray[np.bool_], seed: int) -> dict[str, Any]:
    """AUROC of each way, its gain over age and sex, and the share of the local gain that is kept, with intervals over patients."""
    drawn = times_drawn(len(label), DRAWS, seed).astype(np.float64)
    of = {name: np.array([auroc(label, score, weight) for weight in drawn]) for name, score in scores.items()}
    plain = {name: auroc(label, score, np.ones(len(label))) for name, score in scores.items()}
    base, best = "age and sex", "local"
    found = {}
    for name in scores:
        gain, of_local = of[name] - of[base], of[best] - of[base]
        found[name] = {
            "auroc": plain[name],
            "gain": [plain[name] - plain[base], *interval(gain)],
            "kept": [(plain[name] - plain[base]) / (plain[best] - plain[base]), *interval(gain / of_local)],
        }
    return {"ways": found}


def row_of(name: str, told: Mapping[str, Any]) -> tuple[str, ...]:
    """A line of the table of ways."""
    found, site = told["ways"][name], told["sites"].get(name)
    return (
        name,
        f"{told['losses'][name]:.3f}" if name in told["losses"] else "",
        f"{found['auroc']:.3f}",
        "{:+.3f} ({:+.3f} to {:+.3f})".format(*found["gain"]),
        "{:.0%} ({:.0%} to {:.0%})".format(*found["kept"]),
        "{:.3f} ({:.3f} to {:.3f})".format(*site[:3]) if site else "",
    )


def section(found: Mapping[int, Mapping[str, Any]], options: argparse.Namespace) -> str:
    """The text for RESULTS.md."""
    parts = [
        f"{options.patients:,} patients drawn for each seed, about half at each site, 40 % of each judged; the demo's encoder,"
        f" {options.epochs} epochs for each training. Loss: masked concepts of the second site's validation patients, in nats."
        " AUROC of who is frail, by age, sex and the way's vectors, on the second site's test set; gain over age and sex; share"
        " of the local encoder's gain that is kept; 95 % intervals over patients. The last column: site predictability of the"
        " vectors."
    ]
    for seed, told in found.items():
        losses = told["losses"]
        parts += [
            f"Seed {seed}: {told['patients']:,} patients judged; {told['share of events']:.1%} of the second site's events are of"
            f" concepts unknown at the first, {told['unknown, merged']:.1%} where those that mean the same are merged. By frequency"
            f" alone the loss is {losses['by frequency']:.3f}. At home, on the first site's own test set, its encoder has an AUROC"
            f" of {told['at home']:.3f}, age and sex {told['age and sex at home']:.3f}. Names explain"
            f" {told['explained by names']:.0%} of how the vectors of concepts left out differ.",
            results.table(
                ("way", "loss", "AUROC", "gain", "kept", "site predictability"),
                [row_of(name, told) for name in told["ways"]],
            ),
        ]
    return "\n\n".join(parts)


def main() -> None:
    """Measure what is asked for and not there, and write the section of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=2_400)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--keep", type=Path, help="folder of figures, extracts and encoders (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        kept = (options.keep or Path(scratch)) / f"{options.patients}-{options.epochs}"
        for seed in options.seeds:
            path = kept / f"{seed}.json"
            if not path.is_file():
                (kept / str(seed)).mkdir(parents=True, exist_ok=True)
                told = measured(kept / str(seed), seed, options)
                path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        found = {int(path.stem): json.loads(path.read_text(encoding="utf-8")) for path in sorted(kept.glob("*.json"))}
    results.write("transfer.py", "Transfer between sites", section(found, options))


if __name__ == "__main__":
    main()
