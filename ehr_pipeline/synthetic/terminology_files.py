"""The demo's terminology in the layout of the UMLS and of SNOMED RF2, labelled as approximate."""

from pathlib import Path

from ehr_pipeline.synthetic.codes import CodeTable
from ehr_pipeline.synthetic.dirt import description_ids
from ehr_pipeline.terminology import rf2
from ehr_pipeline.terminology.semantic_types import TYPE_NAMES
from ehr_pipeline.terminology.snomed import without_tag

CORE_MODULE, SYNONYM, CASE_INSENSITIVE = "900000000000207008", "900000000000013009", "900000000000448009"
NOTICE = """# This is not the UMLS

MRCONSO.RRF and MRSTY.RRF here have the layout of the UMLS files, and nothing else of it. The concepts come from the open maps of
MONDO (CC BY 4.0), DOID (CC0) and DICOM; CUIs from C9000000 upwards are invented, as are all AUI, LUI and SUI. Semantic types are
approximate: they were derived from names and tags. The description file has the layout of SNOMED CT RF2; its ids are invented, so
that the description ids among the demo's codes have a concept. Use it to try the pipeline, never to study patients.
"""


DESCRIPTIONS = "sct2_Description_Snapshot_DEMO.txt"


def write(folder: Path, table: CodeTable) -> None:
    """Write the files and the notice. Codes of extensions are left out, as the UMLS leaves out those of the UK extension."""
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
    _write_descriptions(folder / DESCRIPTIONS, table)


def _write_descriptions(path: Path, table: CodeTable) -> None:
    columns = (*rf2.DESCRIPTION, "caseSignificanceId")
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write("\t".join(columns) + "\r\n")
        pairs = sorted(table.pairs.select("code", "name").unique("code", keep="first").iter_rows())
        pairs = [(code, name) for code, name in pairs if code[-3:-1] == "00"]
        for own, (code, name) in zip(description_ids(code for code, _ in pairs), pairs, strict=True):
            values = (own, "20190401", "1", CORE_MODULE, code, "en", SYNONYM, without_tag(name))
            stream.write("\t".join((*values, CASE_INSENSITIVE)) + "\r\n")
