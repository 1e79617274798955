"""Read task files of ACES (github.com/justin13601/ACES, 0.7) that consist of a trigger and windows at fixed times from it.

Supported are: predicates of `code` (a text, {any: […]} or {regex: …}) and `expr: or(…)`; `_ANY_EVENT` (a visit); a trigger; windows
that start or end at null, at the trigger, or at an end of another window, plus or minus whole days; `has`; one `label`, and one
`index_timestamp: end`. Times are in days, so counts are counts of days, not of rows, and a label says whether there is any such
day. Everything else is rejected: predicates on values, static predicates and `and(…)`, windows that end with an event,
`_RECORD_START` and `_RECORD_END`.

Codes are those of `ehr-pipeline export meds`. Each day with the trigger is an index date. Follow-up is required as for any task.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ehr_pipeline.errors import InputError
from ehr_pipeline.tasks import meds
from ehr_pipeline.tasks.rule import FOREVER, VISIT, Condition, Rule
from ehr_pipeline.terminology.code_lists import from_meds
from ehr_pipeline.terminology.spelling import normalise_code

ANY_EVENT = "_ANY_EVENT"
_BOUND = re.compile(r"(\w+(?:\.(?:start|end))?)\s*(?:([+-])\s*(\d.*))?")
_DURATION = re.compile(r"(\d+)\s*(d|days?|h|hours?|w|weeks?)")
_COUNTS = re.compile(r"\(\s*(\d+|none|null)?\s*,\s*(\d+|none|null)?\s*\)", re.IGNORECASE)
_OR = re.compile(r"or\(([^()]*)\)")
_HOURS = {"h": 1, "d": 24, "w": 168}


@dataclass(frozen=True)
class Window:
    """A range of days, counted from the trigger. Both ends are included."""

    first: int
    last: int


def read(path: Path, name: str, concepts: Collection[str]) -> Rule:
    """Read a task file as a rule. `concepts` are all recorded concepts. Raises InputError for anything unsupported."""
    try:
        task = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"{path}: cannot be read as YAML ({type(error).__name__}). Check that the file is complete and readable by this user."
        ) from None
    if not isinstance(task, Mapping) or not {"predicates", "trigger", "windows"} <= task.keys():
        raise InputError(f"{path}: not a task file of ACES: it needs predicates, a trigger, and windows.")
    try:
        return _rule(task, name, concepts)
    except _Unsupported as error:
        raise InputError(f"{path}: {error}.") from None
    except (AttributeError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: not in the format of ACES ({type(error).__name__}: {error}). See docs/tasks.md for the supported part."
        ) from None


class _Unsupported(Exception):
    """A feature of ACES that is not supported; the message says which, and why."""


def _rule(task: Mapping[str, Any], name: str, concepts: Collection[str]) -> Rule:
    if unknown := set(task) - {"predicates", "trigger", "windows", "patient_demographics", "description", "metadata"}:
        raise _Unsupported(f"{', '.join(sorted(unknown))} is not supported")
    if task.get("patient_demographics"):
        raise _Unsupported("patient_demographics is not supported: use sex, min_age and max_age of the task")
    known = {meds.code(concept): concept for concept in concepts} | {meds.DEATH: meds.DEATH}
    predicates = {ANY_EVENT: frozenset({VISIT})}
    derived = {name for name, how in task["predicates"].items() if "expr" in how}
    for predicate in sorted(
        task["predicates"], key=lambda name: name in derived
    ):  # predicates that others refer to come first
        predicates[predicate] = _predicate(predicate, task["predicates"][predicate], known, predicates)
    windows = task["windows"]
    if not isinstance(windows, Mapping):
        raise TypeError("windows is not a mapping")
    spans = {window: _window(window, windows, ()) for window in windows}
    indexed = [window for window in windows if windows[window].get("index_timestamp")]
    labelled = [window for window in windows if windows[window].get("label")]
    if len(indexed) != 1 or len(labelled) != 1:
        raise _Unsupported("exactly one window must have index_timestamp, and exactly one must have label")
    if windows[indexed[0]]["index_timestamp"] != "end":
        raise _Unsupported("index_timestamp must be 'end'")
    history, window = spans[indexed[0]], spans[labelled[0]]
    if history.last >= FOREVER or window.last >= FOREVER:
        raise _Unsupported("the windows of the index time and of the label must end a fixed time after the trigger")
    if window.first <= history.last:
        raise _Unsupported(
            f"the window {labelled[0]!r} of the label begins before the history ends (with {indexed[0]!r})"
        )
    conditions = [
        Condition(_concepts_of(predicate, predicates), spans[where].first, spans[where].last, *_bounds(counts))
        for where in windows
        for predicate, counts in (windows[where].get("has") or {}).items()
    ]
    return Rule(
        name=name,
        outcome=_concepts_of(windows[labelled[0]]["label"], predicates),
        entry=_concepts_of(task["trigger"], predicates),
        index="trigger",
        last=history.last,
        opens=window.first,
        closes=window.last,
        lookback=0 if history.first <= -FOREVER else history.last - history.first + 1,
        incident=False,
        conditions=tuple(conditions),
    )


def _predicate(name: str, how: Any, known: Mapping[str, str], others: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Return the concepts of a predicate."""
    if "expr" in how:
        if not (match := _OR.fullmatch(str(how["expr"]).strip())):
            raise _Unsupported(
                f"predicate {name!r}: {how['expr']!r} is not supported, only or(…) of plain predicates or of earlier expressions"
            )
        parts = [part.strip() for part in match[1].split(",")]
        return frozenset[str]().union(*(_concepts_of(part, others) for part in parts))
    if unsupported := set(how) - {"code"}:
        raise _Unsupported(f"predicate {name!r}: {', '.join(sorted(unsupported))} is not supported, only code")
    code = how["code"]
    if isinstance(code, str):
        codes = [code]
    elif set(code) == {"any"}:
        codes = list(code["any"])
    elif set(code) == {"regex"}:
        try:
            pattern = re.compile(code["regex"])
        except re.error as error:
            raise _Unsupported(f"predicate {name!r}: not a valid regular expression ({error})") from None
        codes = [each for each in known if pattern.search(each)]
    else:
        raise _Unsupported(
            f"predicate {name!r}: a code may be a string, `any` or `regex`, not {', '.join(sorted(code))}"
        )
    by_spelling = {_spelled(code): concept for code, concept in known.items()}
    return frozenset(by_spelling[_spelled(each)] for each in codes if _spelled(each) in by_spelling)


def _spelled(code: str) -> str:
    """Return a MEDS code as concepts are spelled: ICD10CM//I219 and ICD10CM/I219 are ICD10CM:I21.9."""
    return normalise_code(from_meds(code))


def _concepts_of(predicate: str, predicates: Mapping[str, frozenset[str]]) -> frozenset[str]:
    if predicate not in predicates:
        raise _Unsupported(f"predicate {predicate!r} is not defined, or not supported")
    return predicates[predicate]


def _window(name: str, windows: Mapping[str, Any], referrers: tuple[str, ...]) -> Window:
    """Return the days of a window. `referrers` are the windows that refer to it, to detect circular references."""
    if name in referrers or name not in windows:
        raise _Unsupported(f"window {name!r} is not defined, or depends on itself")
    window = windows[name]
    if unknown := set(window) - {"start", "end", "start_inclusive", "end_inclusive", "has", "label", "index_timestamp"}:
        raise _Unsupported(f"window {name!r}: {', '.join(sorted(unknown))} is not supported")
    start, end = window.get("start"), window.get("end")
    given, ends = {"start": start, "end": end}, {}
    for side, bound in (("start", start), ("end", end)):
        if bound is None:
            ends[side] = -FOREVER if side == "start" else FOREVER
            continue
        ends[side] = _bound(str(bound), name, given, windows, referrers)
    first = ends["start"] + (0 if window.get("start_inclusive", True) or start is None else 1)
    return Window(first, ends["end"] - (0 if window.get("end_inclusive", True) or end is None else 1))


def _bound(
    bound: str, name: str, given: Mapping[str, Any], windows: Mapping[str, Any], referrers: tuple[str, ...]
) -> int:
    """Return one end of a window, in days from the trigger. `given` are both ends of the window, as the file gives them."""
    match = _BOUND.fullmatch(bound.strip())
    if not match:
        raise _Unsupported(
            f"window {name!r}: {bound!r} is not supported, only a fixed time before or after another end"
        )
    base, sign, duration = match.groups()
    shift = (_days(duration, name) if duration else 0) * (-1 if sign == "-" else 1)
    if base == "trigger":
        return shift
    if base in ("start", "end"):
        other = "end" if base == "start" else "start"
        if given[base] is None or str(given[base]).strip().startswith(other):
            raise _Unsupported(f"window {name!r}: its ends depend on each other")
        return _bound(str(given[base]), name, given, windows, referrers) + shift
    where, _, side = base.partition(".")
    if not side:
        raise _Unsupported(f"window {name!r}: {bound!r} is not supported: an event cannot end a window")
    window = windows.get(where)
    span = _window(where, windows, (*referrers, name))
    if window is None or window.get(side) is None:
        raise _Unsupported(f"window {name!r}: {base} is not at a fixed time from the trigger")
    exact = span.first if side == "start" else span.last
    open_ = not window.get(f"{side}_inclusive", True)
    return exact + shift + ((-1 if side == "start" else 1) if open_ else 0)


def _days(duration: str, name: str) -> int:
    match = _DURATION.fullmatch(duration.strip())
    hours = int(match[1]) * _HOURS[match[2][0]] if match else 1
    if hours % 24:
        raise _Unsupported(f"window {name!r}: {duration!r} is not a whole number of days")
    return hours // 24


def _bounds(counts: Any) -> tuple[int, int]:
    """Return the minimum and the maximum of a constraint such as '(1, None)'."""
    match = _COUNTS.fullmatch(str(counts).replace("[", "(").replace("]", ")").strip())
    if not match:
        raise _Unsupported(f"the constraint {counts!r} is not supported, only (minimum, maximum)")
    minimum, maximum = (int(each) if each and each.isdigit() else None for each in match.groups())
    return minimum or 0, FOREVER if maximum is None else maximum
