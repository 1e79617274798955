"""Damaged extracts for the fuzz run: a small valid extract, random damage to its files and settings, and the chain on it."""

import gzip
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from ehr_pipeline.errors import GateFailed, UserError
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact, unbalanced
from ehr_pipeline.study import settings
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.drop_reasons import NOT_LOST, REMEDIES
from ehr_pipeline_tests.records.damages import DAMAGES

EXTRACT = "2020-01-01"
CODES = ("9014002", "24079001", "200965009", "73211009", "38341003", "H33..", "195967001")
MRCONSO = "".join(
    f"C{n:07d}|ENG|P|L{n}|PF|S{n}|Y|A{n}||{code}||SNOMEDCT_US|PT|{code}|name {n}|9|N||\n"
    for n, code in enumerate(CODES[:5])
)
MRSTY = "".join(f"C{n:07d}|T047|B2.2.1.2.1|Disease or Syndrome|AT{n}||\n" for n in range(5))
STAGES = ("extract_catalog", "mapped_events", "vocabulary", "patient_dataset")
Files = dict[str, bytes]


def valid_files(rng: random.Random) -> Files:
    """Two event files with their columns in different orders, and one of patients."""
    people = [str(rng.choice((n, 10**9 + n, f"P{n}", f"{n:04d}"))) for n in range(1, 9)]
    rows = [
        (
            rng.choice(people),
            f"{rng.randint(1, 28):02d}/{rng.randint(1, 12):02d}/{rng.randint(1990, 2019)}",
            rng.choice(CODES),
        )
        for _ in range(rng.randint(5, 40))
    ]
    half = len(rows) // 2
    one = "id\tdate\tcode\n" + "".join("\t".join(row) + "\n" for row in rows[:half])
    two = "code\tnote\tid\tdate\n" + "".join(f"{c}\tx y\t{p}\t{d}\n" for p, d, c in rows[half:])
    patients = "id\tyear\tsex\n" + "".join(f"{p}\t{rng.randint(1930, 1985)}\t{rng.choice('FM')}\n" for p in people)
    return {"events_1.txt": one.encode(), "events_2.txt": two.encode(), "patients.txt": patients.encode()}


def valid_settings(folder: Path) -> dict[str, Any]:
    """Settings that fit the valid files."""
    columns = {"patient": "id", "date": "date", "code": "code"}
    events = {"files": "events*", "columns": columns}
    patients = {
        "files": "patients*",
        "columns": {"patient": "id", "birth_year": "year", "sex": "sex"},
        "attributes": {"gender": "sex"},
    }
    shipped = folder / "list.csv"
    return {
        "study": {"name": "fuzz", "store": str(folder / "store")},
        "records": {
            "landing": str(folder / "landing"),
            "events": [events],
            "patients": [patients],
            "buckets": 2,
            "limits": {"rejected_error": 1.0, "not_understood_error": 1.0},  # so that what is left goes on
        },
        "events": {"mrconso": str(folder / "MRCONSO.RRF"), "coverage_floor": 0.0},
        "vocabulary": {"mrsty": str(folder / "MRSTY.RRF"), "min_appearances": 1, "min_size": 1},
        "patients": {"min_visits": 1},
        "concepts": {"concepts_of_interest": str(shipped)},
        "embeddings": {"pooling": {"select": "all"}, "cohort": [{"name": "any", "concepts": str(shipped)}]},
    }


VALUES: dict[str, tuple[Any, ...]] = {
    "delimiter": ("\t", ",", "|", ";", " ", "", "ab", '"', "'", "\n", "\0", "§", "1", "x", "\\", "\x1f", 7, None),
    "quote": ("", '"', "'", "\t", "ab", "\n", "é", "|", "0", "\0"),
    "encoding": (
        *(
            "utf-8",
            "latin-1",
            "cp1252",
            "utf-16",
            "utf-16-le",
            "utf-32",
            "ascii",
            "utf-7",
            "shift_jis",
            "iso2022_jp",
            "gb18030",
        ),
        *(
            "hex",
            "base64",
            "rot13",
            "zlib",
            "punycode",
            "idna",
            "nothing",
            "",
            "cp037",
            "utf-8-sig",
            "raw_unicode_escape",
            "big5",
            5,
        ),
        *("unicode_escape", "undefined", "a\0b", "hz", "mbcs"),
    ),
    "header": (
        ["id", "date", "code"],
        ["id", "id", "date", "code"],
        [""],
        ["a"],
        ["code", "note", "id", "date"],
        ["id", "year", "sex"],
    ),
    "date_formats": (
        *(
            ["%d/%m/%Y"],
            ["%m/%d/%Y", "%d/%m/%Y"],
            ["%Y-%m-%d"],
            ["%d/%m/%y"],
            ["%d/%m/%Y%"],
            ["%d%m%Y", "%Y%m%d"],
            [],
            ["x"],
        ),
        *(
            ["%d %m %Y %Q"],
            ["%d/%m/%Y %H:%M"],
            ["%d-%b-%Y", "%d/%m/%Y"],
            ["%e/%m/%Y"],
            ["%d/%m/%Y\n"],
            ["%d/%m/%Yé"],
            ["%%d%%m%%Y"],
        ),
    ),
    "files": (
        "events*",
        "*",
        "events_1.txt",
        "patients*",
        "nothing*",
        "../*/*",
        "/etc/*",
        "",
        ".",
        "**",
        "**a",
        "[",
        "a\0b",
        "**/*",
    ),
    "code_system": ("snomed", "medcode", "", "a b"),
    "attributes": (
        {"region": "sex"},
        {"patient_id": "sex"},
        {"visits": "id"},
        {"": "sex"},
        {"a": ""},
        {"birth_date": "year"},
    ),
    "sex_values": ({"F": "M"}, {"": "x"}, {"1": "M"}),
}
WHOLE: dict[str, tuple[Any, ...]] = {
    "buckets": (1, 2, 3, 256, 0, -1, 64, "2"),
    "workers": (1, 2, 0),
    "latest_date": ("2020-01-01", "9999-12-31", "0001-01-01", "x", "20200101", "2157-12-31", "1800-01-01", ""),
    "sentinel_dates": ([], ["2001-01-01"], ["20010101"], ["2001-W01-1"], ["x"], ["0001-01-01"], ["9999-12-31"]),
    "block_megabytes": (1, 1024, 0),
}


class Case:
    """One damaged extract: what was done to it follows from the random numbers alone."""

    def __init__(self, rng: random.Random):
        self.files = valid_files(rng)
        for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3))):
            name = rng.choice(sorted(self.files))
            self.files[name] = rng.choice(DAMAGES)(rng, self.files[name])
        if rng.random() < 0.1:
            self.files.pop(rng.choice(sorted(self.files)))
        if rng.random() < 0.1:
            name = rng.choice(sorted(self.files))
            self.files[f"{name}.gz"] = gzip.compress(self.files.pop(name), mtime=0)
        self.rng = rng

    def damage_settings(self, values: dict[str, Any]) -> None:
        """Change some settings, in place."""
        rng = self.rng
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
            if rng.random() < 0.25:
                name = rng.choice(sorted(WHOLE))
                values["records"][name] = rng.choice(WHOLE[name])
                continue
            kind = values["records"][rng.choice(("events", "patients"))][0]
            name = rng.choice((*VALUES, "columns"))
            if name == "columns":
                column = rng.choice((*kind["columns"], "birth_date", "birth_month"))
                kind["columns"][column] = rng.choice(("id", "date", "code", "year", "sex", "", "nothing", "note"))
            elif name in kind or name not in ("code_system", "attributes", "sex_values"):
                kind[name] = rng.choice(VALUES[name])


def run(case: Case, folder: Path) -> str:
    """The chain on one damaged extract. Returns how it ended. Anything but a UserError, and a false count, is raised."""
    landing = folder / "landing" / EXTRACT
    landing.mkdir(parents=True)
    for name, data in case.files.items():
        (landing / name).write_bytes(data)
    for name, text in (
        ("MRCONSO.RRF", MRCONSO),
        ("MRSTY.RRF", MRSTY),
        ("list.csv", "code,cui,name,source\n9014002,,x,y\n"),
    ):
        (folder / name).write_text(text)
    values = valid_settings(folder)
    case.damage_settings(values)
    stage = "settings"
    try:
        study = settings.validate(values, base=folder)
        study = replace(study, study=replace(study.study, store=str(folder / "store")))
        pipeline, stage = Pipeline(study), "raw_records"
        check(records := pipeline.raw_records(EXTRACT))
        losses_are_reported(pipeline, records)
        for stage in STAGES:
            check(getattr(pipeline, stage)())
    except GateFailed as error:
        if "values_understood: " not in str(error):
            raise  # a check found what the chain itself did not
        return "stopped by a check of the values"
    except UserError as error:
        clear(str(error))
        return f"clear error in {stage}"
    dropped = pipeline.store.current("raw_records", EXTRACT).counts["dropped"]
    return "result, rows quarantined" if dropped else "result"


def losses_are_reported(pipeline: Pipeline, records: Artifact) -> None:
    """From one row in a hundred on that is lost, a check warns."""
    warned = {outcome.name for outcome in pipeline.check("raw_records", EXTRACT) if not outcome.passed}
    for counts in (records.counts, records.counts["patients"]):
        assert set(counts["dropped"]) <= set(REMEDIES), (
            "docs/rows.md and ehr_pipeline/tables/drop_reasons.py lack a reason"
        )
        nothing = sum(number for reason, number in counts["dropped"].items() if reason in NOT_LOST)
        lost, rows = sum(counts["dropped"].values()) - nothing, counts["rows_in"] - nothing
        assert not lost or lost < 0.01 * rows or "rejected_rows" in warned, counts
    assert not records.counts["patients"]["sex_not_understood"] or "values_understood" in warned


def check(artifact: Artifact) -> None:
    """The counts add up, and are those of the files."""
    counts = artifact.counts
    assert not unbalanced(counts), counts
    for part in ("patients", "visits", "events"):
        if isinstance(counts.get(part), dict):
            assert not unbalanced(counts[part]), counts[part]
    if "latest_date" in counts:
        kept = sum(schemas.read(path).num_rows for path in artifact.files("events"))
        assert kept == counts["kept"]
        listed = sum(schemas.read(path).num_rows for path in artifact.files("quarantine"))
        assert listed == sum(counts["dropped"].values()) + sum(counts["patients"]["dropped"].values())


def clear(message: str) -> None:
    """A message says something, and shows no patient id of the extract."""
    assert len(message) > 20, message
    assert not any(f"{10**9 + n}" in message for n in range(1, 9)), "a message shows a patient id"
