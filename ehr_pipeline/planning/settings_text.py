"""The first settings file of a study, as text."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ehr_pipeline.vocabulary.settings import VocabularySettings as Vocabulary

SETTINGS, LANDING, LISTS = "study.toml", "landing", "lists"
FEW, MANY = 2_000, 50_000
"""Below FEW patients the encoder is of the preset 'small', below MANY of 'demo', else 'published'."""
HUNDREDS = 500
"""Assumed number of patients of a study whose files are not there yet. The settings chosen for it also work with more patients."""
NO_QUOTE = "# quote = '\"' # if fields are quoted"
NO_SEX_VALUES = '# sex_values = { 1 = "M", 2 = "F" } # if the sex is not written as M, female or another usual word'
PREDICTIONS = 2_500
"""Predictions wanted in the test set of each task: with 2 % of cases, 50 cases."""


@dataclass(frozen=True)
class Extract:
    """What the files showed: their part of the settings, and the approximate number of patients."""

    records: list[str]
    """Lines of TOML, from `source` on."""
    patients: int
    links: dict[str, Path]
    """The files and folders to link, by their name in the extract. A folder named '' is the extract itself."""
    audited: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    """Further sections."""
    events: tuple[str, ...] = ()
    """Further lines of [events]."""
    names: bool = False
    """Whether codes have names without the UMLS."""
    codes: tuple[int, ...] = ()
    """How often each code appears, the most frequent first; empty if not all rows were read."""

    shifted: bool = False
    """Whether each patient's dates seem to be shifted."""

    @property
    def shift(self) -> list[str]:
        """The line of shifted dates, if they are."""
        return (
            ["shifted_dates = true # most dates are in the future: calendar years are left out"] if self.shifted else []
        )

    @property
    def min_appearances(self) -> int:
        """How often a concept has to appear to be in the vocabulary."""
        return max(5, min(100, self.patients // 100))

    @property
    def few_codes(self) -> int:
        """The number of codes that appear often enough, if the half of them may be fewer than a vocabulary needs; otherwise 0.

        The vocabulary is made from the training set, in which a code appears less often.
        """
        often = sum(number >= self.min_appearances for number in self.codes)
        return often if often // 2 < Vocabulary().min_size else 0

    @property
    def smallest_vocabulary(self) -> list[str]:
        """The line of the vocabulary's smallest size, if there are few codes."""
        few = self.few_codes
        return [f"min_size = {max(few // 2, 1)} # half of the codes that appear often enough"] if few else []


def unknown() -> Extract:
    """Return the demo's columns, as an example for a study whose files do not exist yet."""
    lines = [
        'source = "delimited" # or cprd_aurum, omop, meds: then without the tables below',
        "",
        "[[records.events]]",
        'files = "events_*.txt*"',
        'delimiter = "\\t"',
        NO_QUOTE,
        '# date_formats = ["%d/%m/%Y"] # if dates are not written YYYY-MM-DD',
        'columns = { patient = "patient_id", date = "event_date", code = "snomed_code" }',
        "",
        "[[records.patients]]",
        'files = "patients.txt"',
        'delimiter = "\\t"',
        NO_QUOTE,
        'columns = { patient = "patient_id", birth_year = "year_of_birth", sex = "sex" }',
        '# with full dates of birth: birth_date = "date_of_birth" instead of birth_year',
        NO_SEX_VALUES,
    ]
    return Extract(lines, HUNDREDS, {})


def preset_for(patients: int) -> str:
    """Return the encoder's preset for a number of patients."""
    return "small" if patients < FEW else "demo" if patients < MANY else "published"


def settings_text(folder: Path, extract: Extract, terminology: tuple[Path, Path] | None) -> str:
    """Return the settings file."""
    patients = extract.patients
    audited = ", ".join(map(quoted, extract.audited))
    lines = [
        f"# Written by ehr-pipeline init. Check it with: ehr-pipeline check --settings {SETTINGS}",
        "# Paths are relative to this file. Every setting is documented by: ehr-pipeline settings",
        "",
        "[study]",
        f"name = {quoted(folder.resolve().name)}",
        'store = "store" # results go here: a local disk with room',
        *extract.shift,
        "",
        "[records]",
        f"landing = {quoted(LANDING)} # a folder for each extract, with its date as the name: no event may be later",
        *extract.records,
        "",
        "[events]",
    ]
    if terminology:
        lines += [f"mrconso = {quoted(str(terminology[0].resolve()))}"]
    else:
        lines += ['# mrconso = "umls/MRCONSO.RRF" # with a UMLS licence; without it, each code is a separate concept']
    lines += ['unmapped = "keep" # keep codes that the UMLS lacks, each as a separate concept', *extract.events]
    lines += ["", "[vocabulary]"]
    if terminology:
        lines += [f"mrsty = {quoted(str(terminology[1].resolve()))}"]
        lines += [f'administrative_concepts = "{LISTS}/administrative.csv"']
    lines += [
        f"min_appearances = {extract.min_appearances} # of a concept, to be in the vocabulary; 100 in the published run",
        *extract.smallest_vocabulary,
        "",
        "# The key of the split into training and validation sets is generated at random, and kept in the store.",
        "",
        "[encoder]",
        f'preset = "{preset_for(patients)}" # small: hundreds of patients, demo: thousands, published: for a GPU',
        "",
        "[launcher]",
        'backend = "processes"',
        "processes = 1 # one for each GPU",
        "",
        "# The patients to cluster: all patients, unless you define a disease by a list:",
        '#   name = "Psoriasis"',
        f'#   concepts = "{LISTS}/psoriasis.csv"',
        "[[embeddings.cohort]]",
        'name = "Everybody"',
        "",
        "[clusters]",
        'n = "auto" # the largest number on which the two halves of the patients\' records agree; 20 in the published run',
        "",
        "[reports]",
        'title = "Patient clusters" # shown next to the name of the study',
        *([f"audited = [{audited}]"] if extract.audited else ["audited = []"]),
        "",
        *extract.more,
        *_questions("[patients.split]" in extract.more, patients),
    ]
    return "\n".join(lines)


def _questions(is_split: bool, patients: int) -> list[str]:
    """Return the settings of example tasks, as comments."""
    test_share = 0.1 if is_split else 0.4 if patients < FEW else 0.2
    share = f"# test_share = {test_share} # patients not used for training; a task needs 50 cases there"
    landmarks = min(max(round(PREDICTIONS / (test_share * max(patients, 1))), 1), 10)
    return [
        "# Questions about the future, for the prediction report (docs/tasks.md): how well the model predicts whether each of",
        "# 20 frequent concepts is recorded within a year. Remove the first mark # of each line below.",
        "# [patients]",
        "# min_visits = 1",
        *([] if is_split else ["# [patients.split]", share, "# validation_share = 0.1"]),
        "# [tasks]",
        "# screen = 20",
        *([f"# screen_landmarks = {landmarks} # index dates for each patient"] if landmarks > 1 else []),
        "",
    ]


def quoted(value: str | list[str]) -> str:
    """Return a value as TOML, which is JSON for texts and lists of them."""
    return json.dumps(value, ensure_ascii=False)


def inline(values: Mapping[str, str | list[str]]) -> str:
    """Return an inline table of TOML."""
    pairs = [
        f"{key if key.isascii() and key.isidentifier() else quoted(key)} = {quoted(value)}"
        for key, value in values.items()
    ]
    return "{ " + ", ".join(pairs) + " }"
