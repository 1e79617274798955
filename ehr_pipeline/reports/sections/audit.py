"""The bias audit: which attributes the clusters mirror, as a table (`effects`) and as maps."""

from typing import Any

from ehr_pipeline.reports.effects import Effect
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.statements import audit as say


def content(findings: Findings) -> dict[str, Any]:
    """Return the effect of each attribute, the warnings to the reader, and the maps."""
    drawn = {name: picture for name, picture in findings.maps.items() if picture and name != "cluster"}
    without = [effect.name for effect in findings.effects if effect.attribute not in drawn]
    settings = findings.settings
    return {
        "purpose": say.purpose(),
        "warnings": say.warnings(findings.effects),
        "rows": [_row(effect) for effect in findings.effects],
        "maps": [(picture, say.picture(name)) for name, picture in drawn.items()],
        "read_as": say.read_as(findings.kinds, settings.attribute_types),
        "without_map": say.without_map(without, settings.suppress_below),
    }


def _row(effect: Effect) -> dict[str, Any]:
    """Return the row of an attribute as text."""
    return {
        "name": effect.name,
        "measure": effect.measure,
        "value": _number(effect.value),
        "interval": f"{_number(effect.low)}–{_number(effect.high)}" if effect.value is not None else "",
        "p": say.p_text(effect),
        "words": effect.words,
        "within": _number(effect.within),
        "place": _number(effect.place),
        "meaning": [part for part in (say.meaning(effect), say.left(effect)) if part],
    }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
