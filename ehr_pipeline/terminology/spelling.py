"""Write codes of the ICD and of OPCS-4 in one way. Case has no meaning in them, and the place of the dot is fixed: c99.1, C991 and
C99.1 are one code. In Read codes, both distinguish codes.

Sets in MEDS may name a category before the ICD, as MIMIC-IV does in DIAGNOSIS//ICD//10//I219. A diagnosis or a procedure is then a
code of the ICD too. Any other category, such as a family history, is part of the code, since it changes the meaning.
"""

import re

import polars as pl

_IN_CATEGORY = re.compile(
    r"(?:(diagnos[ei]s|diag|dx|conditions?)|procedures?|proc|px)(?::|//?)icd[-_ /]*(9|10)([a-z-]*)(?::|//?)([^/:].*)",
    re.IGNORECASE,
)
_PROCEDURES = {"9": "ICD9Proc", "10": "ICD10PCS"}
_PARTS = re.compile(r"((?:[^:/]*[-_. ])?(?:icd|cim|opcs)[-_ ]?(9|10|4)[^:/]*):([^/]*)(.*)", re.IGNORECASE)
_OF_PROCEDURES = re.compile(r"proc|pcs|px|vol.?3", re.IGNORECASE)
# In the WHO's and in national editions, '-', a dot or (in the NHS) X after three characters says that no fourth one is given.
_NO_FOURTH = re.compile(r"([A-Z][0-9][0-9A-Z])(?:\.?[X-]|\.)")
_DOTS = {
    "10": re.compile(r"([A-Z][0-9][0-9A-Z])\.?([0-9A-Z]{1,4}(?:[^0-9A-Z.].*)?)"),
    "9": re.compile(r"(E[0-9]{3}|[0-9V][0-9]{2})\.?([0-9]{1,2})"),
    "9 procedures": re.compile(r"([0-9]{2})\.?([0-9]{1,2})"),
    "4": re.compile(r"([A-Z][0-9]{2})\.?([0-9])"),
}

# Codes without a system and without blanks, such as SNOMED's: `normalise_code` would return each as it is, but takes a microsecond.
_AS_IT_IS = "^[0-9A-Za-z.]*$"


def normalise_code(code: str) -> str:
    """Return a code of the ICD or of OPCS-4 in upper case and with its dot: 'icd10:C99.1' for 'icd10:c991'.

    In any code, '_' stands for blanks, since names of concepts have none. Otherwise, other codes stay as they are.
    """
    code = "_".join(code.split())
    if found := _IN_CATEGORY.fullmatch(code):
        is_diagnosis, version, edition, own = found.groups()
        code = f"{f'ICD{version}{edition}' if is_diagnosis else _PROCEDURES[version]}:{own}"
    if not (found := _PARTS.fullmatch(code)):
        return code
    system, version, own, more = found.groups()
    own, of_procedures = own.upper(), version != "4" and _OF_PROCEDURES.search(system)
    if version == "10" and (short := _NO_FOURTH.fullmatch(own)):
        own = short[1]
    dots = _DOTS.get(f"{version} procedures" if of_procedures else version)
    if dots and (parts := dots.fullmatch(own)):
        own = f"{parts[1]}.{parts[2]}"
    return f"{system}:{own}{more}"


def normalise_codes(code: pl.Expr) -> pl.Expr:
    """Normalise a column of codes (see `normalise_code`)."""
    return code.map_batches(
        _normalised,
        return_dtype=pl.String,
        is_elementwise=True,
    )


def _normalised(codes: pl.Series) -> pl.Series:
    other = ~codes.str.contains(_AS_IT_IS)
    return codes.scatter(other.arg_true(), [normalise_code(each) for each in codes.filter(other)])
