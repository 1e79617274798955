"""What mkdocs adds to the pages in docs: files of the repository, the executed tutorial, and a sample report.

If `make demo` has been run, the tutorial is executed and the sample report is copied. If not, both pages say that it has not.
"""

import ast
import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
DEMO = TOP / "data/studies/demo/store"
TUTORIAL = TOP / "docs/tutorial.ipynb"
ELSEWHERE = {
    "benchmarks.md": "benchmarks/RESULTS.md",
    "data.md": "data/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
"""Pages of the site that stand elsewhere in the repository, where their readers look for them."""
FOR_REFERENCE = ("api.md", "benchmarks.md", "changelog.md", "data.md", "decisions.md", "error_rates.md", "worlds.md")
BOOST = {**dict.fromkeys(FOR_REFERENCE, 0.1), "faq.md": 4}
"""How much a hit of the search counts: answers first, and last the pages that most readers do not look for."""
NOT_MADE = "This site was built where the demo had not been run. Run `make demo`, then `make docs`."


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that no file in docs holds."""
    from mkdocs.structure.files import File

    pages = {name: local((TOP / path).read_text(encoding="utf-8"), path) for name, path in ELSEWHERE.items()}
    pages["tutorial.md"] = "".join(tutorial(DEMO if DEMO.is_dir() else None))
    report = DEMO / "report.html"
    shown = "The report that `make demo` writes: [open it](sample/report.html). All patients in it are made up."
    pages["sample_report.md"] = "# A sample report\n\n" + (
        f"{shown}\n\n![The first page of the report](report.png)\n" if report.exists() else f"{NOT_MADE}\n"
    )
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    if report.exists():
        files.append(File.generated(config, "sample/report.html", abs_src_path=str(report.resolve())))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Have links to files elsewhere in the repository lead to their pages, and the search show pages for users first."""
    page.meta["search"] = {"boost": BOOST.get(page.file.src_uri, 1)}
    return local(markdown, "docs/page.md")


def local(text: str, path: str) -> str:
    """The text of a file of the repository with its links to others as links within the site, where they have a page."""
    pages = {TUTORIAL: "tutorial.md", **{TOP / where: name for name, where in ELSEWHERE.items()}}

    def link(found: re.Match[str]) -> str:
        target = ((TOP / path).parent / found[1]).resolve()
        if target in pages:
            return f"]({pages[target]}{found[2] or ''})"
        inside = target.is_relative_to(TOP / "docs") and target.exists()
        return f"]({target.relative_to(TOP / 'docs')}{found[2] or ''})" if inside else found[0]

    return re.sub(r"\]\((?!\w+://)([^)#\s]+)(#[^)]*)?\)", link, text)


def cells(path: Path = TUTORIAL) -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of each cell of a notebook."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        yield cell["cell_type"], "".join(cell["source"])


def executed(code: str, names: dict[str, Any]) -> tuple[str, Any]:
    """What a cell prints, and the value of its last line if that is an expression, as a notebook shows them."""
    tree, value = ast.parse(code), None
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, "tutorial", "exec"), names)  # noqa: S102 (our own page)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "tutorial", "eval"), names)  # noqa: S307
    return printed.getvalue(), value


def tutorial(store: Path | None) -> Iterator[str]:
    """Yield the tutorial as Markdown, with what its cells show on the artifacts of a store; without these if there is none."""
    names: dict[str, Any] = {}
    if store is None:
        yield f"!!! note\n    {NOT_MADE}\n\n"
    for kind, text in cells():
        if kind == "markdown":
            yield f"{text}\n\n"
            continue
        yield f"```python\n{text}\n```\n\n"
        if store is not None:
            with contextlib.chdir(TOP):
                printed, value = executed(text, names)
            shown = printed + ("" if value is None else str(value))
            yield f"```text\n{shown.rstrip()}\n```\n\n" if shown.strip() else ""
