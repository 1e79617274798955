"""The bias audit: which attributes the clusters reflect, as a table (`bias_audit`) next to the map's colours."""

from typing import Any

from ehr_pipeline.clusters.matching import PRACTICE
from ehr_pipeline.embeddings import vectors
from ehr_pipeline.reports.bias_audit import Effect
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.statements import audit as say
from ehr_pipeline.reports.statements import occlusion
from ehr_pipeline.reports.statements.statement import Rate, Statement, joined
from ehr_pipeline.tables.asset_names import ENCODER_CHECKPOINT, PATIENT_EMBEDDINGS


def content(findings: Findings) -> dict[str, Any] | None:
    """Return the effect of each attribute, and the warnings to the reader; None for a single cluster."""
    if len(findings.numbers) == 1:
        return None
    drawn = {name for name, layer in findings.layers.items() if layer}
    without = [effect.name for effect in findings.effects if effect.attribute not in drawn]
    settings, diseases = findings.settings, findings.disease_concepts
    made = vectors.settings_of(findings.inputs.artifacts[PATIENT_EMBEDDINGS])
    ages = bool(made["profile"] and made["ages"])
    several = any(effect.within is not None for effect in findings.effects)
    predicted = _predicted(findings) if made[vectors.SHARE] or not made["profile"] else ()
    return {
        "purpose": say.purpose(sum(effect.value is not None for effect in findings.effects), several_diseases=several),
        "several_diseases": several,
        "warnings": [
            *say.warnings(findings.effects),
            *filter(None, [say.of_some_practices(findings.of_some_practices)]),
            *_on_one_concept(findings),
        ],
        "rows": [
            _row(
                effect,
                diseases=bool(diseases and diseases.names),
                ages=ages,
                predicted=predicted,
                but=say.except_for(findings.of_some_practices) if effect.attribute == PRACTICE else None,
            )
            for effect in findings.effects
        ],
        "read_as": say.read_as(findings.kinds, settings.attribute_types),
        "without_map": say.without_map(without, settings.suppress_below),
    }


def _on_one_concept(findings: Findings) -> list[Statement]:
    """Return the warning about clusters that rest on one concept alone; an empty list if there are none."""
    sentence = occlusion.how_many_rest_on_one(findings.resting_on_one, len(findings.numbers))
    return [joined(Rate.CLUSTER, [sentence, occlusion.one_concept_means()])] if sentence else []


def _predicted(findings: Findings) -> tuple[str, ...]:
    """Return the attributes that the encoder was trained to predict."""
    settings = findings.inputs.artifacts[ENCODER_CHECKPOINT].manifest["settings"].get("metadata", {})
    return tuple(settings["attributes"]) if settings.get("weight") else ()


def _row(
    effect: Effect, *, diseases: bool, ages: bool, predicted: tuple[str, ...], but: Statement | None
) -> dict[str, Any]:
    """Return the row of an attribute as text. `diseases` and `ages`: whether vectors contain codes of the diseases, and ages.
    `predicted`: the attributes that the encoder was trained to predict. `but`: a statement about single clusters that the effect
    over all clusters conceals; None without one."""
    so = say.by_construction(effect, diseases=diseases, ages=ages, predicted=predicted)
    meaning = (say.meaning(effect), so, but)
    return {
        "name": effect.name.removeprefix("the "),
        "measure": effect.measure,
        "value": _number(effect.value),
        "interval": f"{_number(effect.low)}–{_number(effect.high)}" if effect.value is not None else "",
        "p": say.p_text(effect),
        "words": effect.words,
        "within": _number(effect.within),
        "within_interval": ""
        if effect.within_low is None
        else f"{_number(effect.within_low)}–{_number(effect.within_high)}",
        "place": _number(effect.place),
        "meaning": [part for part in meaning if part],
    }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
