"""Recognise codes of a MEDS data set that describe the subject, so that the user can add them to the settings.

MEDS fixes the codes of a birth and a death only. Sets write the sex as GENDER//F, SEX_AT_BIRTH//F, Gender/F or GENDER//8532, and
older ones write births under a SNOMED code.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ehr_pipeline.records.layouts import RESERVED
from ehr_pipeline.records.sources.omop import SEX
from ehr_pipeline.records.values import FEMALE, MALE, PRACTICE, SEX_WORDS, USUAL, called_practice, comparable

BIRTH, DEATH = "MEDS_BIRTH", "MEDS_DEATH"
_BIRTHS = re.compile(r"(?i)^(?:.*\W)?(?:3950001|birth|born|dob|date_?of_?birth|birth_?date)$")
_DEATHS = re.compile(r"(?i)^(?:.*\W)?(?:419620001|419099009|death|died|date_?of_?death|death_?date)$")
_SEPARATOR = re.compile(r"//|/|:")
ORIGIN = ("race", "ethnicity")
"""Attributes that are proposed even if their codes have a time."""
MOST_VALUES = 40


@dataclass(frozen=True)
class Proposed:
    """Values for settings of `records.meds`; empty where nothing was found."""

    birth_codes: tuple[str, ...] = ()
    death_codes: tuple[str, ...] = ()
    sex_prefixes: tuple[str, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict)


def proposed(codes: Iterable[str], timeless: Iterable[str]) -> Proposed:
    """Return which of these distinct codes seem to describe the subject. Those in `timeless` occur without a time."""
    codes, timeless = sorted(codes), set(timeless)
    sexes, values = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for code in codes:
        for number, (prefix, value) in enumerate(_splits(code)):
            if any(word in prefix.lower() for word in SEX_WORDS):
                sexes[prefix].add(value)
            elif any(word in code.lower() for word in SEX_WORDS):
                continue  # DEMO//SEX//F describes the sex, and no attribute 'demo'
            elif number == 0 and (code in timeless or _name(prefix) in ORIGIN):
                values[prefix].add(value)
    known = {prefix for prefix, own in sexes.items() if _are_sexes(own)}
    attributes = {
        name: prefix
        for prefix, own in values.items()
        if (name := _name(prefix)) and name not in RESERVED
        if len(own) > 1 and (len(own) <= MOST_VALUES or called_practice([name]))
    }
    if practice := called_practice(attributes):
        attributes[PRACTICE] = attributes.pop(practice)
    return Proposed(
        _unless_usual(codes, _BIRTHS, BIRTH),
        _unless_usual(codes, _DEATHS, DEATH),
        tuple(sorted(known)),
        dict(sorted(attributes.items())),
    )


def _splits(code: str) -> Iterator[tuple[str, str]]:
    """Yield a code in two parts, at each of its separators."""
    for found in _SEPARATOR.finditer(code):
        if found.start() and code[found.end() :]:
            yield code[: found.end()], code[found.end() :]


def _are_sexes(values: set[str]) -> bool:
    meant = [SEX.get(value, USUAL.get(comparable(value))) for value in values]
    return 2 * meant.count(None) < len(meant) and bool({MALE, FEMALE} & set(meant))


def _name(prefix: str) -> str:
    """Return a name for an attribute; empty if none can be made."""
    name = re.sub(r"[^a-z0-9]+", "_", prefix.lower()).strip("_")
    return name if name.isidentifier() else ""


def _unless_usual(codes: list[str], alike: re.Pattern[str], usual: str) -> tuple[str, ...]:
    """Return the codes that match the pattern `alike`; none if the `usual` code is one of the codes."""
    if any(code == usual or code.startswith(f"{usual}//") for code in codes):
        return ()
    return tuple(code for code in codes if alike.match(code))
