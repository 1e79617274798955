"""Terminology of the demo in the layout of the UMLS: MRCONSO.RRF and MRSTY.RRF, labelled approximate."""

from pathlib import Path

from ehr_pipeline.synthetic.codes import CodeTable
from ehr_pipeline.terminology.semantic_types import TYPE_NAMES
from ehr_pipeline.terminology.snomed import without_tag

NOTICE = """# This is not the UMLS

MRCONSO.RRF and MRSTY.RRF here have the layout of the UMLS files, and nothing else of it. The concepts come from the open maps of
MONDO (CC BY 4.0), DOID (CC0) and DICOM; CUIs from C9000000 upwards are invented, as are all AUI, LUI and SUI. Semantic types are
approximate: they were derived from names and tags. Use it to try the pipeline, never to study patients.
"""


def write(folder: Path, table: CodeTable) -> None:
    """Write both files and the notice. Codes of extensions are left out, as those of the UK are of the UMLS."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(NOTICE, encoding="utf-8")
    types: dict[str, str] = {}
    preferred: set[str] = set()
    with (folder / "MRCONSO.RRF").open("w", encoding="utf-8", newline="\n") as stream:
        for number, row in enumerate(table.pairs.iter_rows(named=True), start=1):
            if not row["cui"] or row["code"][-3:-1] != "00":
                continue
            types[row["cui"]] = types.get(row["cui"]) or row["tui"] or ""
            first = row["code"] not in preferred
            preferred.add(row["code"])
            suppress = "N" if row["active"] else "O"
            kind = ("PF", "Y", "PT") if first else ("VO", "N", "SY")
            fields = (
                row["cui"],
                "ENG",
                "P" if first else "S",
                f"L{number:07d}",
                kind[0],
                f"S{number:07d}",
                kind[1],
                f"A{number:08d}",
                "",
                row["code"],
            )
            stream.write(
                "|".join(
                    (*fields, "", "SNOMEDCT_US", kind[2], row["code"], without_tag(row["name"]), "9", suppress, "")
                )
                + "|\n"
            )
    with (folder / "MRSTY.RRF").open("w", encoding="utf-8", newline="\n") as stream:
        for number, (cui, tui) in enumerate(sorted(types.items()), start=1):
            if tui:
                stream.write(f"{cui}|{tui}||{TYPE_NAMES.get(tui, '')}|AT{number:08d}||\n")
