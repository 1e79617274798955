"""The answers in short, and the key figures."""

from typing import Any

from ehr_pipeline.encoder.metrics import read as read_metrics
from ehr_pipeline.reports import effects, likeness, sureness
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.reports.sections import alternatives, flow
from ehr_pipeline.reports.sections.methods import confirmed
from ehr_pipeline.reports.sections.settings import changed
from ehr_pipeline.tables import asset_names as assets
from ehr_pipeline.vocabulary.table import Vocabulary


def content(findings: Findings) -> dict[str, Any]:
    """Return who is in the clusters, how reliable that is, what may be an artefact of recording, and what was lost."""
    inputs, counted, cards = findings.inputs, findings.counted, findings.cards
    clusters = inputs.artifacts[assets.CLUSTERS]
    return {
        "clusters": cards,
        "evidence": findings.evidence,
        "reports": findings.settings,
        "profile": inputs.artifacts[assets.PATIENT_EMBEDDINGS].manifest["settings"]["vectors"]["profile"],
        "sure": [card["number"] for card in cards if sureness.usable(card)],
        "steady": sureness.counted(card["stability"]["words"] for card in cards),
        "limits": sureness.limits(inputs.settings[assets.CLUSTERS]["unstable_below"]),
        "how_many": alternatives.how_many(clusters, len(findings.numbers)),
        "strong": [f"{effect.name} ({effect.words} effect)" for effect in effects.strong(findings.effects)],
        "alike": likeness.alike_of_one_disease(cards),
        "own_diseases": findings.own_diseases,
        "patients_lost": flow.summary_of_patients(counted),
        "events_lost": flow.summary(counted),
        "codes_lost": flow.summary_of_codes(counted),
        "key": _key_figures(findings),
        "pooling": pooling(inputs, findings.vocabulary),
    }


def _key_figures(findings: Findings) -> list[tuple[str, str]]:
    """Return the key numbers at the top of the page, with their words."""
    inputs, counted = findings.inputs, findings.counted
    usable = findings.standing.usable if findings.evidence["verdict"] in ("clear", "weak") else None
    metrics = read_metrics(inputs.artifacts[assets.ENCODER_CHECKPOINT].path)
    best, base = metrics["best"], metrics["baseline"]
    return [
        ("patients in clusters", counted.person(counted.counts[assets.CLUSTERS]["kept"])),
        (
            "clusters" if usable is None else f"clusters, of which {usable} can be relied on alone",
            str(inputs.artifacts[assets.CLUSTERS].counts["clusters"]),
        ),
        (
            "of events have a UMLS concept",
            f"{100 * inputs.artifacts[assets.MAPPED_EVENTS].counts['coverage_of_events']:.1f} %",
        ),
        ("concepts in the vocabulary", f"{inputs.artifacts[assets.VOCABULARY].counts['kept']:,}"),
        (
            f"of hidden concepts are among the network's ten guesses ({100 * base['top10']:.0f} % by frequency alone)",
            f"{100 * best['validation_top10']:.0f} %",
        ),
    ]


def pooling(inputs: Inputs, vocabulary: Vocabulary) -> str:
    """Return what the patient vectors were made of, in words."""
    counts = inputs.artifacts[assets.PATIENT_EMBEDDINGS].counts
    chosen = f"{counts['selected_concepts']:,} of {len(vocabulary.concepts):,} concepts"
    over = {
        "all": "all recorded concepts",
        "types": f"the recorded concepts of chosen semantic types ({chosen})",
        "list": f"those recorded concepts that stand on a list or are nearest to one that does ({chosen})",
    }[counts["pooling"]]
    if counts.get("substitutes"):
        over += ", those that count as one with any of them included"
    vectors = inputs.artifacts[assets.PATIENT_EMBEDDINGS].manifest["settings"]["vectors"]
    told = f"the mean of what the network makes of {over}"
    if vectors["profile"]:
        ages = ", and the age at which they were recorded" if vectors["ages"] else ""
        told += f", joined with the share that each of them has in the record{ages}."
        told += f" What the network makes of them decides {100 * vectors['encoder_share']:.0f} % of how far two patients lie apart."
        if confirmed(inputs):
            told += " Of the rest, only that counts which one random half of a patient's visits confirms of the other."
        told += " This set of choices is"
    else:
        told += ": the set of choices"
    otherwise = ", some of them changed" if changed(inputs) else ""
    return f"{told} called '{counts['preset']}' in the settings{otherwise}"
