"""Why rows and patients were left out, in words that a reader of the page, or of an error, understands."""

IN_WORDS = {
    "missing_patient": "without a patient",
    "missing_code": "without a code",
    "missing_date": "without a date",
    "ill_formed_code": "with a code of a wrong form",
    "ambiguous_date": "with a date that two formats read differently",
    "inexact_number": "with a number that was rounded on its way (such as 1.2E+14)",
    "partial_date": "with an incomplete date",
    "unparsable_date": "with an unreadable date",
    "sentinel_date": "with a placeholder date (such as 01/01/1900) that stands for a missing one",
    "future_date": "dated after the extract",
    "missing_birth": "without a date of birth",
    "ambiguous_birth": "with a date of birth that two formats read differently",
    "partial_birth": "with an incomplete date of birth",
    "unparsable_birth": "with an unreadable date of birth",
    "future_birth": "born after the extract",
    "before_birth": "dated before birth",
    "unknown_patient": "of patients without a usable patient row",
    "wrong_number_of_fields": "with a wrong number of fields",
    "unmapped_uk_extension": "UK extension codes without a UMLS concept",
    "unmapped_other_extension": "codes of other extensions without a UMLS concept",
    "unmapped_international": "international codes without a UMLS concept",
    "unmapped_description": "description ids without a UMLS concept",
    "unmapped_read": "Read codes without a UMLS concept",
    "unmapped_bad_check_digit": "mistyped codes (check digit)",
    "administrative": "of administrative concepts",
    "rare": "of concepts that are too rare",
    "semantic_type": "of semantic types that are left out",
    "semantic_group": "of semantic groups that are left out",
    "few_visits": "of patients with too few visits",
    "large_visits": "in visits with too many concepts",
    "not_in_patient_dataset": "not in the data set",
    "not_in_vocabulary": "of concepts that are not in the vocabulary",
    "large": "with too many concepts",
}
OF_PATIENTS = IN_WORDS | {"few_visits": "with too few visits"}
"""Where patients themselves are counted."""

OF_STEPS = {
    "override": "the study's own table",
    "current": "current SNOMED CT codes",
    "obsolete": "obsolete SNOMED CT codes",
    "suppressed_by_editor": "codes that an editor of the UMLS suppressed",
    "suppressed_by_default": "codes that the UMLS suppresses by default",
    "description": "description ids, by their concept",
    "read": "Read codes, translated",
    "replaced": "retired codes, by what replaced them",
    "ancestor": "by the nearest mapped ancestor",
    "kept": "kept as concepts of their own",
}
"""The steps of the mapping."""


def in_words(reason: str, patients: bool = False) -> str:
    """A reason as it is counted ('few_visits'), in words."""
    return (OF_PATIENTS if patients else IN_WORDS).get(reason, reason.replace("_", " "))
