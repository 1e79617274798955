"""Sections of RESULTS.md: each script writes its own, and leaves the others as they are."""

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = "# Results\n\nWritten by the scripts in this folder; each section says which. Do not edit by hand.\n"


def write(script: str, title: str, text: str) -> None:
    """Replace the section of a script."""
    page = RESULTS.read_text(encoding="utf-8") if RESULTS.is_file() else HEAD
    begin, end = f"<!-- {script} -->", f"<!-- end of {script} -->"
    section = f"{begin}\n## {title}\n\n`.venv/bin/python benchmarks/{script}` on {machine()}.\n\n{text.strip()}\n{end}"
    if begin in page:
        page = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: section, page, flags=re.DOTALL)
    else:
        page = page.rstrip() + "\n\n" + section + "\n"
    RESULTS.write_text(page, encoding="utf-8")
    print(section)


def write_part(script: str, title: str, heading: str, text: str) -> None:
    """Replace one part of a script's section, and leave its other parts as they are: for parts that are run apart."""
    page = RESULTS.read_text(encoding="utf-8") if RESULTS.is_file() else HEAD
    section = re.search(f"<!-- {re.escape(script)} -->(.*?)<!-- end of", page, flags=re.DOTALL)
    parts = dict(part.split("\n", 1) for part in (section[1] if section else "").split("\n### ")[1:])
    parts[heading] = "\n" + text
    write(script, title, "\n\n".join(f"### {name}\n\n{told.strip()}" for name, told in parts.items()))


UNITS = {
    "amx_bf16": "AMX",
    "avx512_bf16": "AVX-512 BF16",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
}
"""Instructions for products of matrices, best first, by their flags in Linux. Processors of one name differ in them, and so in
speed."""


def machine() -> str:
    """Cores, processor, its units for products of matrices, Python; no names of hosts."""
    model, best = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        text = info.read_text(encoding="utf-8")
        found = re.search(r"model name\s*:\s*(.+)", text)
        model = " ".join(found[1].split()) if found else model
        flags = re.search(r"flags\s*:\s*(.+)", text)
        best = next((f" with {UNITS[unit]}" for unit in UNITS if flags and unit in flags[1].split()), "")
    return f"{len(os.sched_getaffinity(0))} cores ({model}{best}), Python {platform.python_version()}"


def table(header: tuple[str, ...], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])
