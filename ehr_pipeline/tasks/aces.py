"""Read a part of the task format of ACES (github.com/justin13601/ACES, 0.7): a trigger, and windows a fixed time from it.

Supported are: predicates of `code` (a text, {any: […]} or {regex: …}) and `expr: or(…)`; `_ANY_EVENT` (a visit); a trigger; windows
whose ends are null, the trigger, or an end of another window, plus or minus whole days; `has`; one `label`, and one
`index_timestamp: end`. Times are in days, so counts are counts of days, not of rows, and a label says whether there is any such
day. Everything else is refused: predicates on values, static predicates and `and(…)`, windows that end with an event,
`_RECORD_START` and `_RECORD_END`.

Codes are those of `ehr-pipeline export meds`. Each day with the trigger is an index day. Follow-up is required as for any task.
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
        raise InputError(f"{path}: this task file cannot be read ({type(error).__name__}).") from None
    if not isinstance(task, Mapping) or not {"predicates", "trigger", "windows"} <= task.keys():
        raise InputError(f"{path}: a task file of ACES has predicates, a trigger, and windows.")
    try:
        return _rule(task, name, concepts)
    except _Refused as error:
        raise InputError(f"{path}: {error}.") from None
    except (AttributeError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: this task file does not have the form of ACES ({type(error).__name__}: {error})."
        ) from None


class _Refused(Exception):
    """Raised with what is not supported, and why."""


def _rule(task: Mapping[str, Any], name: str, concepts: Collection[str]) -> Rule:
    if unknown := set(task) - {"predicates", "trigger", "windows", "patient_demographics", "description", "metadata"}:
        raise _Refused(f"{', '.join(sorted(unknown))} is not read")
    if task.get("patient_demographics"):
        raise _Refused("patient_demographics is not read: use sex, min_age and max_age of the task")
    known = {meds.code(concept): concept for concept in concepts} | {meds.DEATH: meds.DEATH}
    predicates = {ANY_EVENT: frozenset({VISIT})}
    derived = {name for name, how in task["predicates"].items() if "expr" in how}
    for predicate in sorted(
        task["predicates"], key=lambda name: name in derived
    ):  # predicates that others refer to come first
        predicates[predicate] = _predicate(predicate, task["predicates"][predicate], known, predicates)
    windows = task["windows"]
    if not isinstance(windows, Mapping):
        raise TypeError("windows is no mapping")
    spans = {window: _window(window, windows, ()) for window in windows}
    indexed = [window for window in windows if windows[window].get("index_timestamp")]
    labelled = [window for window in windows if windows[window].get("label")]
    if len(indexed) != 1 or len(labelled) != 1:
        raise _Refused("one window must have index_timestamp, and one label")
    if windows[indexed[0]]["index_timestamp"] != "end":
        raise _Refused("index_timestamp is read as the end of a window only")
    history, window = spans[indexed[0]], spans[labelled[0]]
    if history.last >= FOREVER or window.last >= FOREVER:
        raise _Refused("the windows of the index time and of the label must end a fixed time after the trigger")
    if window.first <= history.last:
        raise _Refused(
            f"the window {labelled[0]!r} of the label begins within the history that ends with {indexed[0]!r}"
        )
    conditions = [
        Condition(_named(predicate, predicates), spans[where].first, spans[where].last, *_bounds(counts))
        for where in windows
        for predicate, counts in (windows[where].get("has") or {}).items()
    ]
    return Rule(
        name=name,
        outcome=_named(windows[labelled[0]]["label"], predicates),
        entry=_named(task["trigger"], predicates),
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
            raise _Refused(
                f"predicate {name!r}: {how['expr']!r} is not read, only or(…) of plain predicates, or of expressions above it"
            )
        parts = [part.strip() for part in match[1].split(",")]
        return frozenset[str]().union(*(_named(part, others) for part in parts))
    if others_ := set(how) - {"code"}:
        raise _Refused(f"predicate {name!r}: {', '.join(sorted(others_))} is not read, only code")
    code = how["code"]
    if isinstance(code, str):
        codes = [code]
    elif set(code) == {"any"}:
        codes = list(code["any"])
    elif set(code) == {"regex"}:
        try:
            pattern = re.compile(code["regex"])
        except re.error as error:
            raise _Refused(f"predicate {name!r}: the pattern cannot be read ({error})") from None
        codes = [each for each in known if pattern.search(each)]
    else:
        raise _Refused(f"predicate {name!r}: of a code a text, any and regex are read, not {', '.join(sorted(code))}")
    return frozenset(known[each] for each in codes if each in known)


def _named(predicate: str, predicates: Mapping[str, frozenset[str]]) -> frozenset[str]:
    if predicate not in predicates:
        raise _Refused(f"there is no predicate {predicate!r}, or it is not read")
    return predicates[predicate]


def _window(name: str, windows: Mapping[str, Any], asked: tuple[str, ...]) -> Window:
    """Return the days of a window. `asked` are the windows that refer to it, to detect circular references."""
    if name in asked or name not in windows:
        raise _Refused(f"window {name!r} is not there, or depends on itself")
    window = windows[name]
    if unknown := set(window) - {"start", "end", "start_inclusive", "end_inclusive", "has", "label", "index_timestamp"}:
        raise _Refused(f"window {name!r}: {', '.join(sorted(unknown))} is not read")
    start, end = window.get("start"), window.get("end")
    own = {"start": end, "end": start}
    ends = {}
    for side, bound in (("start", start), ("end", end)):
        if bound is None:
            ends[side] = -FOREVER if side == "start" else FOREVER
            continue
        ends[side] = _bound(str(bound), name, own, windows, asked)
    first = ends["start"] + (0 if window.get("start_inclusive", True) or start is None else 1)
    return Window(first, ends["end"] - (0 if window.get("end_inclusive", True) or end is None else 1))


def _bound(bound: str, name: str, own: Mapping[str, Any], windows: Mapping[str, Any], asked: tuple[str, ...]) -> int:
    """Return one end of a window, in days from the trigger."""
    match = _BOUND.fullmatch(bound.strip())
    if not match:
        raise _Refused(f"window {name!r}: the end {bound!r} is not read, only a fixed time before or after another")
    base, sign, duration = match.groups()
    shift = (_days(duration, name) if duration else 0) * (-1 if sign == "-" else 1)
    if base == "trigger":
        return shift
    if base in ("start", "end"):
        other = "end" if base == "start" else "start"
        if own[other] is None or str(own[other]).strip().startswith(other):
            raise _Refused(f"window {name!r}: its ends depend on each other")
        return _bound(str(own[other]), name, own, windows, asked) + shift
    where, _, side = base.partition(".")
    if not side:
        raise _Refused(f"window {name!r}: the end {bound!r} is not read: no event ends a window")
    window = windows.get(where)
    span = _window(where, windows, (*asked, name))
    if window is None or window.get(side) is None:
        raise _Refused(f"window {name!r}: {base} is no fixed time from the trigger")
    exact = span.first if side == "start" else span.last
    open_ = not window.get(f"{side}_inclusive", True)
    return exact + shift + ((-1 if side == "start" else 1) if open_ else 0)


def _days(duration: str, name: str) -> int:
    match = _DURATION.fullmatch(duration.strip())
    hours = int(match[1]) * _HOURS[match[2][0]] if match else 1
    if hours % 24:
        raise _Refused(f"window {name!r}: {duration!r} is no number of whole days")
    return hours // 24


def _bounds(counts: Any) -> tuple[int, int]:
    """Return the minimum and the maximum of a constraint such as '(1, None)'."""
    match = _COUNTS.fullmatch(str(counts).replace("[", "(").replace("]", ")").strip())
    if not match:
        raise _Refused(f"the constraint {counts!r} is not read, only (least, most)")
    least, most = (int(each) if each and each.isdigit() else None for each in match.groups())
    return least or 0, FOREVER if most is None else most
