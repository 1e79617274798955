"""The meanings of values: words for 'no value', and values in columns with few known ones, such as the sex.

Databases and programs write missing values as words: NULL (SQL), \\N (PostgreSQL, MySQL), NA (R), NaN, None and <NA>
(Python), a dot (SAS, Stata). Taken as values, they would become a patient called 'NA', or a region of that name.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import polars as pl

NO_VALUE = ("NULL", "null", "(null)", "\\N", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NaT", "None", ".")
MALE, FEMALE, UNKNOWN = "M", "F", ""
# In lower case, with blanks between words (`comparable`).
_MEANINGS = {
    **dict.fromkeys(("m", "male", "man", "boy"), MALE),
    **dict.fromkeys(("f", "female", "w", "woman", "girl"), FEMALE),
    **dict.fromkeys(("", "u", "unk", "unknown", "not known", "unspecified", "not specified", "missing"), UNKNOWN),
    **dict.fromkeys(("not recorded", "not stated", "not entered", "data not entered", "not available"), UNKNOWN),
    **dict.fromkeys(("na", "n/a", "null", "none", "nan", "no value", "prefer not to say", "declined"), UNKNOWN),
}
_NEITHER = ("i", "indeterminate", "undetermined", "undifferentiated", "ambiguous", "intersex", "o", "other", "x")
USUAL = _MEANINGS | dict.fromkeys((*_NEITHER, "non binary", "nonbinary"), UNKNOWN)
"""Usual spellings of the sex, and their meanings. A study that compares more than two sexes names the others in `sex_values`."""
STANDARD = {"1": MALE, "2": FEMALE, "0": UNKNOWN, "9": UNKNOWN}
"""Numbers of ISO/IEC 5218 and of the NHS. Only proposed, never assumed, since 1 and 2 mean the opposite in some files."""
LIKELY = STANDARD | {
    **dict.fromkeys(("mann", "männlich", "homme", "masculin", "hombre", "masculino", "uomo", "maschio"), MALE),
    **dict.fromkeys(("frau", "weiblich", "femme", "féminin", "mujer", "femenino", "donna", "femmina", "vrouw"), FEMALE),
    **dict.fromkeys(("divers", "diverse", "autre", "otro", "otra", "altro", "unbekannt", "inconnu"), UNKNOWN),
}
"""Probable meanings of other words, for a person to confirm."""
SEX_WORDS = ("sex", "gender", "geschlecht", "sesso", "sexo", "sexe")
"""Words in the names of columns and codes for the sex."""
PRACTICE = "practice"
"""The attribute that says who recorded a patient's data: a practice, a hospital or another site."""
_RECORDERS = (
    *(
        "practice",
        "prac",
        "praxis",
        "surgery",
        "cabinet",
        "gp",
        "clinic",
        "klinik",
        "hospital",
        "krankenhaus",
        "hopital",
    ),
    *(
        "site",
        "standort",
        "centre",
        "center",
        "facility",
        "institution",
        "organisation",
        "organization",
        "org",
        "trust",
    ),
)
_RECORDER = re.compile(
    r"(?:care|gp|study|registered|registration|main|home|health|medical|usual)*"
    rf"({'|'.join(_RECORDERS)})(?:id|nr|no|num|number|key|code|name)?"
)
NOT_UNDERSTOOD = "\0"
"""Prefix of values that are not understood, until the patients with each such value have been counted."""
MAX_LENGTH, MAX_VALUES = 40, 100
"""Maximum length of such a value, and maximum number of values counted separately in a bucket."""


FILE = "values.json"
"""File of the values of the sex that were not understood, with the number of patients of each. Restricted, since a value may
identify a patient."""


def write_unknown(counted: Mapping[str, int], out: Path) -> None:
    """Write the patients' values that were not understood, the most frequent first; no file if there are none."""
    if counted:
        ordered = dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))
        (out / FILE).write_text(json.dumps({"sex": ordered}, indent=1) + "\n", encoding="utf-8")


def read_unknown(records: Path) -> dict[str, int]:
    """Return the values that `write_unknown` wrote, with the number of patients who have each."""
    path = records / FILE
    return json.loads(path.read_text(encoding="utf-8"))["sex"] if path.is_file() else {}


def without_words(rows: pl.DataFrame, words: tuple[str, ...]) -> pl.DataFrame:
    """Return rows in which texts that equal one of the words are replaced by empty texts."""
    names = [name for name, kind in rows.schema.items() if kind == pl.String]
    if not words or not names or not rows.height:
        return rows
    longest = max(len(word.encode()) for word in words)
    is_word = {name: (pl.col(name).str.len_bytes() <= longest) & pl.col(name).is_in(words) for name in names}
    occurs = rows.select(test.any().alias(name) for name, test in is_word.items()).row(0, named=True)
    return rows.with_columns(
        pl.when(is_word[name]).then(pl.lit("")).otherwise(pl.col(name)).alias(name) for name in names if occurs[name]
    )


def with_digits(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words with a digit, which may occur in columns of numbers or dates."""
    return tuple(word for word in words if any(sign.isdigit() for sign in word))


def are_words(rows: pl.DataFrame, words: tuple[str, ...]) -> pl.Series:
    """Return flags (n,) of the rows in which the text of a number or date is one of the words."""
    tests = [pl.col(name).cast(pl.String).is_in(words).fill_null(False) for name in rows.columns if name != "line"]
    return rows.select(is_word=pl.any_horizontal(tests)).to_series()


def sex(column: pl.Expr, values: Mapping[str, str]) -> pl.Expr:
    """Return the sex: 'M', 'F', '' or another meaning from the settings; `values` come before the usual words."""
    return meanings(column, {value: _MEANINGS.get(comparable(meant), meant) for value, meant in values.items()}, USUAL)


def proposal(name: str, words: Collection[str], shown: Collection[str]) -> str:
    """Return advice on giving the meanings of `words` for the sex in the setting `name`. Only words in `shown` may be repeated."""
    if words and set(words) <= set(STANDARD):
        standard = STANDARD if set(words) - {"1", "2"} else {"1": MALE, "2": FEMALE}
        return f"set {name} = {_toml(standard)} if 1 is male and 2 female, as in ISO/IEC 5218 and in the NHS"
    likely = {word: LIKELY[comparable(word)] for word in shown if comparable(word) in LIKELY}
    if likely or not shown:
        return f"give its meaning in {name}, such as {_toml(likely or {'Mann': MALE, 'Frau': FEMALE})}"
    listed = ", ".join(f"{_key(word)} = …" for word in shown)
    return f"give its meaning in {name} = {{{listed}}}: M, F, or an empty text for unknown"


def _toml(meant: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'{_key(word)} = "{sex}"' for word, sex in meant.items()) + "}"


def called_practice(names: Iterable[str]) -> str:
    """Return which name, if any, is that of the practice, or of another place that records in its own way, such as a hospital."""
    found = {name: _RECORDER.fullmatch(re.sub(r"[^a-z]", "", name.lower())) for name in names}
    return min(
        (name for name, match in found.items() if match),
        key=lambda name: _RECORDERS.index(found[name][1]),  # type: ignore[index]
        default="",
    )


def _key(word: str) -> str:
    return word if re.fullmatch(r"[A-Za-z0-9_-]+", word) else json.dumps(word, ensure_ascii=False)


def meanings(column: pl.Expr, named: Mapping[str, str], usual: Mapping[str, str]) -> pl.Expr:
    """Return the meanings of values in a column with few known values: those in the settings (`named`), otherwise the `usual` ones.

    Upper and lower case, marks between words and a fraction of zeros make no difference. A value that is not understood
    becomes `NOT_UNDERSTOOD` plus the value.
    """
    known = {**usual, **{comparable(value): meant for value, meant in named.items()}}
    exact = column.replace_strict(named, default=None, return_dtype=pl.String) if named else pl.lit(None, pl.String)
    meant = _comparable(column).replace_strict(known, default=None, return_dtype=pl.String)
    return pl.coalesce(exact, meant, pl.lit(NOT_UNDERSTOOD) + column.str.slice(0, MAX_LENGTH))


_BETWEEN = r"[\s_\-]+"
_FRACTION = r"^0*([0-9]+)\.0*$"


def comparable(value: str) -> str:
    """Return a value as used in comparisons: in lower case, with blanks between words, without a fraction of zeros."""
    return str(pl.select(_comparable(pl.lit(value))).item())


def _comparable(column: pl.Expr) -> pl.Expr:
    return column.str.to_lowercase().str.replace_all(_BETWEEN, " ").str.strip_chars().str.replace(_FRACTION, "$1")


def clear_unknown(patients: pl.DataFrame) -> tuple[pl.DataFrame, Counter[str], int]:
    """Return patients with an empty sex if it is not understood; the number with each such value; and the number with any.

    Only the most frequent values are counted separately.
    """
    other = patients.filter(pl.col("sex").str.starts_with(NOT_UNDERSTOOD))
    if not other.height:
        return patients, Counter(), 0
    counted = other.group_by(value=pl.col("sex").str.strip_prefix(NOT_UNDERSTOOD)).agg(pl.col("patient_id").n_unique())
    most = counted.sort("patient_id", "value", descending=[True, False]).head(MAX_VALUES)
    clear = pl.when(pl.col("sex").str.starts_with(NOT_UNDERSTOOD)).then(pl.lit("")).otherwise("sex")
    return patients.with_columns(sex=clear), Counter(dict(most.rows())), other["patient_id"].n_unique()
