"""Figures and a Table 1 for a publication: the page's drawings as files, and a table of the patients in each cluster.

Both hold what the page shows, with the same suppression.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from markupsafe import Markup

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.reports import FIGURES, TABLE_1, map_svg
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.sections import clusters
from ehr_pipeline.reports.statements import clusters as say

STYLE = 'xmlns="http://www.w3.org/2000/svg" font-family="Helvetica, Arial, sans-serif"'


def write(findings: Findings, out: Path) -> None:
    """Write, into the folder of the page, `figures/` with an SVG for each drawing, and `table_1.csv`."""
    folder = out / FIGURES
    folder.mkdir()
    for name, drawing in drawings(findings):
        text = str(drawing).replace("<svg ", f"<svg {STYLE} ", 1)
        (folder / f"{name}.svg").write_text(text + "\n", encoding="utf-8")
    shown = [card for card in findings.cards if not card["hidden"]]
    names = ["characteristic", *(f"cluster {card['number']}" for card in shown)]
    schema = pa.schema([(name, pa.string()) for name in names])
    spreadsheet.write(out / TABLE_1, schema, list(table_1(shown, findings.evidence["verdict"])))


def drawings(findings: Findings) -> Iterator[tuple[str, Markup]]:
    """Yield each drawing with its name: the map in each colour, the lifts and ages of each cluster, and clusters side by side."""
    for layer in findings.layers.values():
        if layer:
            yield (
                f"map_by_{layer.name}",
                map_svg.svg([layer], [dict.fromkeys(layer.groups, "")], layer.title, key=True),
            )
    shown = [card for card in findings.cards if not card["hidden"]]
    for card in shown:
        for kind, drawing in clusters.drawings(card, is_tested=findings.is_tested).items():
            if isinstance(drawing, Markup) and drawing:
                yield f"{kind}_{card['number']:02d}", drawing
    if len(shown) > 1:
        yield "onset_age_follow_up", clusters.side_by_side(findings, shown)["strips"]


def table_1(shown: Sequence[Mapping[str, Any]], verdict: str) -> Iterator[list[str]]:
    """Yield the rows: one for each characteristic, with a text for each cluster."""

    def row(words: str, *texts: str) -> list[str]:
        return [words, *texts]

    yield row("What marks it", *(str(say.title(card, verdict)) for card in shown))
    yield row("Patients", *(card["size"] for card in shown))
    yield row("Share of the patients", *(card["share"] for card in shown))
    yield row("Female", *(card["sex"].removeprefix("female ") for card in shown))
    for name, title in clusters.STRIPS.items():
        yield row(f"{title}, median (quartiles)", *(card[name] for card in shown))
    yield row("Concepts recorded, median (quartiles)", *(card["concepts"] for card in shown))
    for kind, words in (("ages", "Age"), ("diseases", "Disease")):
        for name in dict.fromkeys(name for card in shown for name, _ in card[kind]):
            yield row(f"{words}: {name}", *(dict(card[kind]).get(name, "–") for card in shown))
    yield row("Recognised from half a record", *(card["recognised"] for card in shown))
    yield row("Recognised by chance", *(card["by_chance"] for card in shown))
    yield row("Patients tested", *(card["tested"] or "–" for card in shown))
    details = "Excess over chance (95 % interval)", "Jaccard coefficient (95 % of random halves)"
    for place, (name, detail) in enumerate(zip(("Evidence", "Stability"), details, strict=True)):
        yield row(name, *(say.sure(card)[place][0] for card in shown))
        yield row(detail, *(say.sure(card)[place][1] or "–" for card in shown))
