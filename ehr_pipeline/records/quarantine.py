"""File, line and reason of rejected rows: all are counted, and the first million of a reason in a file are listed.

So a file of nothing but empty lines, which gzip packs a thousandfold, does not fill the disk. The content of rejected rows stays
where it is: in the extract. A hash of the patient lies beside them, so that the lines of a patient who withdraws can be removed.
"""

from collections import Counter
from pathlib import Path

import polars as pl
import pyarrow as pa

from ehr_pipeline import schemas
from ehr_pipeline.errors import InputError
from ehr_pipeline.records.hashing import hash_of
from ehr_pipeline.records.text import CHANGED_HEADER

MOST_LISTED = 1_000_000


class Quarantine:
    """What was rejected while text was read; rows that do not fit their patients follow for each bucket."""

    def __init__(self, folder: Path, files: list[str]):
        self.files = files
        self.reasons: dict[str, Counter[str]] = {"events": Counter(), "patients": Counter()}
        self.not_listed = 0
        """How many rejected rows are counted, but not listed."""
        self._of_file: dict[tuple[str, str], Counter[str]] = {}
        folder.mkdir()
        self._writer = pa.ipc.new_file(str(folder / "text.arrow"), schemas.QUARANTINE)

    def add(self, kind: str, file: str, rejected: pl.DataFrame, first_line: int) -> None:
        """Count and write down rejected lines (line, reason, and patient where it is known); lines count from `first_line`.

        Raises InputError for a second header with its columns in other places: the rows after it would be misread.
        """
        if rejected.height:
            changed = rejected.filter(pl.col("reason") == CHANGED_HEADER)["line"]
            if len(changed):
                raise InputError(
                    f"{file}, line {changed[0] + first_line}: a second header line names the columns in another order, so files of"
                    " different layouts were joined. Split the file there: each file may have its own order."
                )
            found = dict(rejected["reason"].value_counts().iter_rows())
            self.reasons[kind].update(found)
            rejected = self._listed(rejected, found, self._of_file.setdefault((kind, file), Counter()))
            patient = rejected["patient"].fill_null("") if "patient" in rejected.columns else pl.Series([""])
            told = rejected.select(
                pl.lit(kind).alias("kind"),
                pl.lit(file).alias("file"),
                pl.col("line") + first_line,
                "reason",
                patient_hash=pl.when(patient != "").then(pl.Series(hash_of(patient))),
            )
            self._writer.write_table(told.to_arrow().cast(schemas.QUARANTINE))

    def _listed(self, rejected: pl.DataFrame, found: dict[str, int], before: Counter[str]) -> pl.DataFrame:
        """The lines that are listed, of those of some reasons that were `found`; `before` counts those of the same file."""
        room = {reason: max(0, MOST_LISTED - before[reason]) for reason in found}
        before.update(found)
        if all(number <= room[reason] for reason, number in found.items()):
            return rejected
        kept = pl.concat([rejected.filter(pl.col("reason") == reason).head(number) for reason, number in room.items()])
        self.not_listed += rejected.height - kept.height
        return kept.sort("line")

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
