"""The package stays small enough to find one's way in: its rooms, modules, functions and lists of arguments are counted."""

import ast
from functools import cache
from pathlib import Path
from statistics import median

import ehr_pipeline

PACKAGE = Path(ehr_pipeline.__file__).parent
MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
LONG, MANY = 60, 5
"""Lines of a function, and its positional arguments beside `self` and `cls`, beyond which it has to be listed below."""
LONG_FUNCTIONS = {
    "embeddings/build.py build",  # the order of the steps from chunks to vectors, one after the other
}
"""A list that is only ever made shorter."""
MANY_ARGUMENTS = {
    "encoder/sequences.py open",
    "engines/node.py torchrun",
    "records/quoting.py _find",  # compiled: no keywords
    "records/scan.py _scan",  # compiled: no keywords
    "synthetic/generate.py generate",
    "synthetic/people.py draw",
    "synthetic/visits.py _planted",
}
"""A list that is only ever made shorter; those without a reason were not yet brought down."""


@cache
def functions() -> list[tuple[str, int, int]]:
    """Each function with its module, how many lines it has, and how many positional arguments."""
    found = []
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
                bound = arguments[:1] in (
                    ["self"],
                    ["cls"],
                    ["ctx"],
                )  # the last is what torch gives to its own functions
                lines = (node.end_lineno or 0) - node.lineno + 1
                found.append((f"{name} {node.name}", lines, len(arguments) - bound))
    return found


def test_rooms_are_few_and_few_modules_stand_loose() -> None:
    loose = {name for name in MODULES if "/" not in name} - {"__init__.py"}
    folders = {path.parent for path in MODULES.values()} - {PACKAGE}
    assert len(loose) <= 4
    assert len(folders) + len(loose) <= 41, "39, the worlds within synthetic/, and the sentences within reports/"


def test_modules_are_short() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert not {name: count for name, count in lines.items() if count > 350}
    assert median(lines.values()) < 120


def test_functions_are_short() -> None:
    long = {name: lines for name, lines, _ in functions() if lines > LONG}
    assert not set(long) - LONG_FUNCTIONS, f"over {LONG} lines: {long}"
    assert len(LONG_FUNCTIONS) <= 1


def test_functions_take_few_arguments_by_place() -> None:
    many = {name: count for name, _, count in functions() if count > MANY}
    assert not set(many) - MANY_ARGUMENTS, f"over {MANY} positional arguments: put a * before the others: {many}"
    assert len(many) <= 8


def test_what_is_counted_is_seen() -> None:
    counted = {name: (lines, arguments) for name, lines, arguments in functions()}
    assert counted["reports/build.py build"][1] == 3
    assert counted["disclosure/by_subtraction.py _safe"][1] == 5
    assert max(lines for lines, _ in counted.values()) > LONG
