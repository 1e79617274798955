"""Reasons why rows and patients were left out, and remedies, in words for the report and for error messages.

A new reason for rejecting rows needs a text, a remedy, and a line in the table of docs/rows.md.
"""

from collections.abc import Mapping

IN_WORDS = {
    "missing_patient": "without a patient",
    "missing_code": "without a code",
    "missing_date": "without a date",
    "ill_formed_code": "with a code of the wrong form",
    "ambiguous_date": "with a date that two formats read differently",
    "inexact_number": "with a number that was rounded before it got here (such as 1.2E+14)",
    "partial_date": "with an incomplete date",
    "unparsable_date": "with an unreadable date",
    "sentinel_date": "with a placeholder date (such as 01/01/1900) instead of a real one",
    "future_date": "dated after the extract",
    "missing_birth": "without a date of birth",
    "ambiguous_birth": "with a date of birth that two formats read differently",
    "partial_birth": "with an incomplete date of birth",
    "unparsable_birth": "with an unreadable date of birth",
    "sentinel_birth": "with a placeholder date of birth (such as 01/01/1900)",
    "future_birth": "born after the extract",
    "before_birth": "dated before birth",
    "unknown_patient": "of patients without a usable patient row",
    "wrong_number_of_fields": "with a wrong number of fields",
    "undecodable_patient": "with a patient id whose bytes are not text in the file's encoding",
    "undecodable_code": "with a code whose bytes are not text in the file's encoding",
    "overlong_patient": "with a patient id of more than 100 bytes",
    "adds_to_no_patient": "of patients whose birth is not in any row",
    "missing_key": "without a key",
    "no_time": "without a time",
    "changed_header": "in the middle of a file that are a header with other columns; this stops the run",
    "empty_line": "that are empty",
    "repeated_header": "that repeat the header",
    "line_too_long": "longer than 131,072 bytes",
    "unclosed_quote": "with a quote that is not closed, or is closed in the middle of a field",
    "after_unclosed_quote": "that follow a quote that is not closed, up to the end of its row",
    "nul_byte": "with NUL bytes",
    "stray_carriage_return": "with a carriage return inside",
    "before_observation": "dated before their patient was observed",
    "after_observation": "dated after their patient was observed",
    "entered_in_bulk": "that were entered in bulk",
    "withdrawn": "of patients who withdrew",
    "unmapped_uk_extension": "UK extension codes without a UMLS concept",
    "unmapped_other_extension": "codes of other extensions without a UMLS concept",
    "unmapped_international": "international codes without a UMLS concept",
    "unmapped_description": "description ids without a UMLS concept",
    "unmapped_read": "Read codes without a UMLS concept",
    "unmapped_bad_check_digit": "mistyped codes (check digit)",
    "administrative": "of administrative concepts",
    "rare": "of concepts that are too rare",
    "few_patients": "of concepts that too few patients have",
    "not_learned_from": "of concepts found only in patients who are not used for training",
    "semantic_type": "of semantic types that are left out",
    "semantic_group": "of semantic groups that are left out",
    "few_visits": "of patients with too few visits",
    "large_visits": "in visits with too many concepts",
    "not_in_patient_dataset": "not in the data set",
    "not_in_vocabulary": "of concepts that are not in the vocabulary",
    "large": "with too many concepts",
    "no_chosen_concept": "without a chosen concept",
}
NOT_LOST = ("empty_line", "repeated_header", "before_observation", "after_observation", "entered_in_bulk", "withdrawn")
"""Lines without a row, and rows that the study itself leaves out."""
_ENCODING = "set `encoding` to the file's encoding, such as 'latin-1'"
_DATES = "set `date_formats` to the formats of the dates in the file"
_CUT = "name the extract's folder after its cut-off date, or set `records.latest_date`"
_QUOTES = "set `delimiter` and `quote` to those of the file"
REMEDIES = {
    "missing_patient": "check that `columns.patient` is the right column",
    "undecodable_patient": _ENCODING,
    "overlong_patient": f"check that `columns.patient` is the right column, and {_QUOTES}",
    "missing_code": "check that `columns.code` is the right column; a second one can be given as `columns.code_fallback`",
    "undecodable_code": _ENCODING,
    "ill_formed_code": "set `code_system` if the codes are not SNOMED codes; have codes exported as text",
    "missing_date": "check that `columns.date` is the right column",
    "ambiguous_date": "leave one of the formats out of `date_formats`",
    "partial_date": "have complete dates exported, or set `records.partial_dates` to 'middle'",
    "unparsable_date": _DATES,
    "sentinel_date": "if such a date is a real one, remove it from `records.sentinel_dates`",
    "future_date": _CUT,
    "inexact_number": "have ids and codes exported as text or as whole numbers",
    "no_time": "have times exported; the codes that need none are set in `records.meds`",
    "before_birth": "check that dates of birth are read correctly",
    "unknown_patient": "check that event files and patient files use the same ids, and that no patient file is missing",
    "missing_birth": "check that `columns.birth_date` or `columns.birth_year` is the right column",
    "ambiguous_birth": "leave one of the formats out of `date_formats`",
    "unparsable_birth": f"{_DATES}; a year of birth has four digits",
    "partial_birth": "have complete dates exported, or set `records.partial_dates` to 'middle'",
    "sentinel_birth": "if such a date is a real one, remove it from `records.sentinel_dates`",
    "future_birth": f"check that `date_formats` has years of four digits; {_CUT}",
    "adds_to_no_patient": "check that the file with the births uses the same ids",
    "missing_key": "check that `key` is the right column",
    "wrong_number_of_fields": _QUOTES,
    "unclosed_quote": "check `quote`, and that quotes inside fields are doubled",
    "after_unclosed_quote": "check `quote`, or correct the row in which the quote is opened",
    "line_too_long": _QUOTES,
    "nul_byte": "copy the file again, or set `encoding` if the file is UTF-16",
    "stray_carriage_return": "have the file written with the same line end throughout",
    "changed_header": "split the file there: each file may have its own order of columns",
    "empty_line": "nothing: no row is lost",
    "repeated_header": "nothing: no row is lost",
    "before_observation": "nothing: `records.outside_observation` rejects them",
    "after_observation": "nothing: `records.outside_observation` rejects them",
    "entered_in_bulk": "nothing: `records.entered_in_bulk` rejects them",
    "withdrawn": "nothing: these patients are listed in `records.withdrawals`",
}
"""What to do about rejected rows of an extract, by reason. Settings without a table are those of the kind of file."""
OF_PATIENTS = IN_WORDS | {"few_visits": "with too few visits"}
"""The words for counts of patients instead of rows."""

OF_STEPS = {
    "override": "the study's own table",
    "current": "current SNOMED CT codes",
    "obsolete": "obsolete SNOMED CT codes",
    "suppressed_by_editor": "codes that an editor of the UMLS suppressed",
    "suppressed_by_default": "codes that the UMLS suppresses by default",
    "description": "description ids, by their concept",
    "read": "Read codes, translated",
    "read_without_term": "Read codes, translated without their term code",
    "replaced": "retired codes, by what replaced them",
    "ancestor": "by the nearest mapped ancestor",
    "kept": "kept as separate concepts",
}
"""The steps of the mapping, in words."""


def in_words(reason: str, patients: bool = False) -> str:
    """Return a reason (its name in the counts, such as 'few_visits') in words."""
    return (OF_PATIENTS if patients else IN_WORDS).get(reason, reason.replace("_", " "))


def remedy(reason: str) -> str:
    """Return what to do about rows of an extract that were rejected for this reason."""
    return REMEDIES.get(reason, "see the quarantine")


def lost_rows(rejected: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of rejected rows, without the reasons in NOT_LOST."""
    return {reason: number for reason, number in rejected.items() if number and reason not in NOT_LOST}
