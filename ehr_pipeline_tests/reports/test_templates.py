"""Templates only lay out: the words of a sentence, what they depend on, and how a number is written are made in Python."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import nodes

import ehr_pipeline
from ehr_pipeline.reports import layout, page

FOLDER = Path(ehr_pipeline.__file__).parent
TEMPLATES = {path.name.removesuffix(".html.j2"): path for path in sorted(FOLDER.rglob("*.html.j2"))}
NAMED_PARTS = ("title", "style", "h1", "h2", "h3", "h4", "th", "caption", "summary", "legend")
"""Elements that name a part of the page: a heading, a table, the head of a column, a line to unfold. Their words may stand in
a template."""
COMPUTING = (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow, nodes.Concat, nodes.Neg)
COMPUTING_FILTERS = {
    "length",
    "count",
    "format",
    "round",
    "int",
    "float",
    "abs",
    "sum",
    "min",
    "max",
    "capitalize",
    "replace",
}
LETTER = re.compile(r"[^\W\d_]")


class Prose(HTMLParser):
    """The words of a page that stand outside its named parts."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in NAMED_PARTS:
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in NAMED_PARTS:
            self.inside.remove(tag)

    def handle_data(self, data: str) -> None:
        if not self.inside and LETTER.search(data):
            self.words.append(" ".join(data.split()))


def problems(source: str) -> Iterator[str]:
    """What a template does that is not layout."""
    environment = layout.environment(page.FOLDER)
    tree = environment.parse(source)
    for node in tree.find_all(nodes.Compare):
        yield (
            f"line {node.lineno}: compares"
            if any(isinstance(value.value, int | float) for value in node.find_all(nodes.Const))
            else ""
        )
    for kind in COMPUTING:
        yield from (f"line {node.lineno}: computes" for node in tree.find_all(kind))
    yield from (f"line {node.lineno}: holds data" for node in tree.find_all((nodes.List, nodes.Dict)))
    for node in tree.find_all(nodes.Filter):
        yield f"line {node.lineno}: {node.name}" if node.name in COMPUTING_FILTERS else ""
    for node in tree.find_all(nodes.Call):
        method = node.node.attr if isinstance(node.node, nodes.Getattr) else ""
        yield f"line {node.lineno}: formats" if method == "format" else ""
    for output in tree.find_all(nodes.Output):
        for part in output.nodes:
            if not isinstance(part, nodes.TemplateData):
                said = [text.value for text in part.find_all(nodes.Const) if _is_text(text.value)]
                said += [part.value] if isinstance(part, nodes.Const) and _is_text(part.value) else []
                yield f"line {output.lineno}: says {said}" if said else ""
    prose = Prose()
    prose.feed("".join(text if kind == "data" else "" for _, kind, text in environment.lex(source)))
    yield from (f"says “{words}”" for words in prose.words)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(LETTER.search(value))


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_only_lays_out(name: str) -> None:
    assert not list(filter(None, problems(TEMPLATES[name].read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    "template",
    [
        "<p>There are {{ clusters }} clusters.</p>",
        "{% if rows|length > 1 %}<td></td>{% endif %}",
        "{% if share > 0.2 %}{{ more }}{% endif %}",
        "{{ 'is' if one else 'are' }}",
        "{{ rows|length }}",
        '{{ "%.1f"|format(100 * share) }} %',
        '{{ "{:,}".format(number) }}',
        "<td>{{ 100 * share }}</td>",
        "{% for word in ['Silhouette'] %}<td>{{ word }}</td>{% endfor %}",
        '<img alt="{{ "arrows and " if moves }}map">',
    ],
)
def test_what_is_not_layout_is_refused(template: str) -> None:
    assert list(filter(None, problems(template)))


@pytest.mark.parametrize(
    "template",
    [
        "<h2>Clusters</h2>{% if first %}<p>{{ first }}</p>{% else %}<p>{{ other }}</p>{% endif %}",
        "{% for name in names %}<td>{{ name }}</td>{{ ', ' if not loop.last }}{% endfor %}",
        "<p>{{ lead|join(' ') }} · {{ row.name }}</p>",
        '<details><summary>All</summary><img src="{{ picture }}" alt="A picture"></details>',
    ],
)
def test_layout_is_not_refused(template: str) -> None:
    assert not list(filter(None, problems(template)))


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_head_of_a_table_says_what_it_is_the_head_of(name: str) -> None:
    source = TEMPLATES[name].read_text(encoding="utf-8")
    heads = re.findall(r"<th\b[^>]*>", source)
    assert not [head for head in heads if "scope=" not in head]
    tables = re.findall(r"<table[^>]*>", source)
    assert source.count("<thead>") == sum("facts" not in table for table in tables)
