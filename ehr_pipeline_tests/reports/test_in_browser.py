"""The page of the tiny study in a real browser: hints, choosing, sorting, search, the menu of colours, tables, print."""

import base64
import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.prediction_report import page as prediction_page
from ehr_pipeline.reports import layout
from ehr_pipeline.reports.sections import relations
from ehr_pipeline.reports.statements import pictures
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline_tests.defs.browser import Page, chromium
from ehr_pipeline_tests.prediction_report import test_page as predictions
from ehr_pipeline_tests.prediction_report.invented import foreseen
from ehr_pipeline_tests.processes import until
from ehr_pipeline_tests.reports.sections import test_relations as network

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("chromium") is None, reason="there is no chromium (Debian: apt-get install chromium)"
    ),
]
WATCH = """window.trouble = [];
addEventListener("error", (event) => trouble.push(event.message));
addEventListener("securitypolicyviolation", (event) => trouble.push(event.violatedDirective));
URL.createObjectURL = (blob) => { window.saved = blob; return "#"; };"""
POINT = """function point(selector) {
  const e = document.querySelector(selector);
  e.scrollIntoView({block: "center", behavior: "instant"});
  const r = e.getBoundingClientRect();
  if (e.tagName !== "path") return {x: r.x + r.width / 2, y: r.y + r.height / 2};
  const [x, y] = e.getAttribute("d").match(/[0-9]+/g).map(Number);
  const p = new DOMPoint(x, y).matrixTransform(e.getScreenCTM());
  return {x: p.x, y: p.y};
}
"""
AXE = """axe.run(%s).then((r) => [r.passes.length, r.violations.filter((v) => ["serious", "critical"].includes(v.impact))
  .map((v) => [v.id, v.nodes.map((n) => n.html.slice(0, 200)).slice(0, 5)])])"""
NARROW = {"runOnly": ["scrollable-region-focusable", "aria-allowed-role", "aria-allowed-attr"]}
"""What can differ on a small screen."""
SCROLLING = """[...document.querySelectorAll("main table:not(.list table), .wide")].map((e) => [
  e.scrollWidth > e.clientWidth, e.tabIndex === 0 && Boolean(e.caption || e.ariaLabel)])"""
"""Of tables and other wide parts: whether they scroll, and whether the keyboard stops there, with a name."""
LONG_LIST = """(() => {
  const body = document.querySelector("#groups tbody"), row = body.querySelector("tr[data-group]");
  row.querySelector(".title").textContent = "A name of many words that needs more than the two lines that it is given here";
  const figure = 'clear <br><span class="small">0.01 (-0.01 to 0.04)</span>';
  for (const cell of row.querySelectorAll("td:nth-child(n + 4)")) cell.innerHTML = figure;
  body.replaceChildren(...Array.from({length: %d}, () => row.cloneNode(true)));
})()"""
"""Fills the list with so many rows, as high as a row can be."""
WIDE, TALL = 1280, 900
SHEET = 688
"""Pixels of a sheet of A4 between its margins."""
TIPS = "[...document.querySelectorAll('[data-link]')].map((e) => e.dataset.tip)"
"""What the lines of the network of diseases say."""


@pytest.fixture(scope="module")
def file(tiny: Pipeline) -> Path:
    return Path(tiny.store.current("cluster_reports").file("report.html"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        page.command("Page.enable")
        page.command("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        yield page


@pytest.fixture
def page(browser: Page, file: Path) -> Page:
    size(browser, WIDE, TALL)
    return opened(browser, file)


def opened(browser: Page, file: Path) -> Page:
    browser.open("about:blank")
    assert until(lambda: browser.value("location.href") == "about:blank", 60)
    browser.open(f"file://{file}")
    assert until(
        lambda: (
            browser.value("document.readyState") == "complete" and browser.value("!!document.querySelector('main')")
        ),
        60,
    )
    return browser


def size(page: Page, width: int, height: int) -> None:
    page.command(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
    )


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.value(
        f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.textContent.trim())"
    )
    return found


def shown(page: Page, selector: str) -> list[Any]:
    found: list[Any] = page.value(
        f"[...document.querySelectorAll({json.dumps(selector)})].filter((e) => e.getClientRects().length)"
        ".map((e) => e.dataset.group || e.className.baseVal || e.className)"
    )
    return found


def point(page: Page, selector: str) -> dict[str, float]:
    """A place of the window that the first such element covers, scrolled into view; of a path, its first dot."""
    found: dict[str, float] = page.value(POINT + f"point({json.dumps(selector)})")
    return found


def click(page: Page, selector: str) -> None:
    at = point(page, selector)
    for kind in ("mousePressed", "mouseReleased"):
        page.command("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)


def search(page: Page, words: str, box: str = "find") -> None:
    page.value(
        f"(() => {{ const e = document.getElementById('{box}'); e.value = {json.dumps(words)};"
        " e.dispatchEvent(new Event('input')); })()"
    )


def test_nothing_is_refused_by_the_policy_and_nothing_fails(page: Page) -> None:
    assert page.value("window.trouble") == []
    assert page.value("document.documentElement.classList.contains('js')")
    page.value("document.body.append(Object.assign(document.createElement('script'), {textContent: 'foreign = 1'})); 0")
    assert page.value("window.foreign") is None, "no other script runs"


def test_the_first_screen_is_the_answer(page: Page) -> None:
    ends = page.value(
        "['.answer', '.figures', '.map svg', '.list'].map((s) => document.querySelector(s).getBoundingClientRect().bottom)"
    )
    assert all(0 < end <= TALL for end in ends), ends
    assert page.value("document.documentElement.scrollHeight") <= 12 * TALL
    assert page.value("document.querySelectorAll('.figures div').length") <= 4


def test_the_list_shows_as_many_clusters_as_the_words_above_it_say(page: Page) -> None:
    """With names of two lines in each row."""
    page.value(LONG_LIST % pictures.FIRST)
    inside = "(([list, rows]) => [list.scrollHeight <= list.clientHeight, rows])"
    seen = "[document.querySelector('.list'), document.querySelectorAll('#groups tbody tr').length]"
    assert page.value(f"{inside}({seen})") == [True, pictures.FIRST]
    page.value(LONG_LIST % (pictures.FIRST + 2))
    assert page.value(f"{inside}({seen})") == [False, pictures.FIRST + 2]


def test_on_a_small_screen_nothing_is_out_of_sight(browser: Page, file: Path) -> None:
    size(browser, 390, 844)
    page = opened(browser, file)
    page.value(LONG_LIST % 2)
    assert page.value("document.documentElement.scrollWidth") <= 390
    wide = page.value(
        "[...document.querySelectorAll('#verdict *, #map *')].filter((e) => e.getBoundingClientRect().right > 391).length"
    )
    assert wide == 0


def test_a_hint_tells_the_group_and_its_rounded_share_and_nothing_else(page: Page) -> None:
    at = point(page, ".layer-0.marks path[data-group]")

    def hint() -> str:
        page.command("Input.dispatchMouseEvent", type="mouseMoved", **at)
        return str(
            page.value("document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent")
        )

    assert until(lambda: bool(hint()), 60)
    assert re.fullmatch(r"Cluster: \d+, (about |>)\d+ % of the patients", hint())


def test_a_chosen_cluster_is_marked_on_map_list_table_and_card(page: Page) -> None:
    number = texts(page, "#groups tbody a")[-1]
    click(page, f"#groups tr[data-group='{number}'] td:nth-child(2)")
    for place in (".layer-0.marks path", "#groups tr", "#glance tr", ".card"):
        assert set(shown(page, f"{place}.chosen")) == {number}, place
    assert (
        page.value("getComputedStyle(document.querySelector('.layer-0.marks path[data-group]:not(.chosen)')).opacity")
        == "0.1"
    )
    assert number in page.value("document.getElementById('choice').textContent")
    page.command("Input.dispatchKeyEvent", type="keyDown", key="Escape")
    assert not page.value("document.querySelectorAll('.chosen').length")


def test_a_cluster_can_be_chosen_on_the_map_and_by_keyboard(page: Page) -> None:
    number = page.value("document.querySelector('.layer-0.marks path[data-group]').dataset.group")
    click(page, ".layer-0.marks path[data-group]")
    assert set(shown(page, "#groups tr.chosen")) == {number}
    page.command("Input.dispatchKeyEvent", type="keyDown", key="Escape")
    page.value(f"document.querySelector('#groups a[data-choose=\"{number}\"]').focus()")
    for kind in ("keyDown", "keyUp"):
        page.command("Input.dispatchKeyEvent", type=kind, key=" ", text=" ", windowsVirtualKeyCode=32)
    assert set(shown(page, "#groups tr.chosen")) == {number}


def test_a_click_on_a_head_sorts(page: Page) -> None:
    def sizes() -> list[int]:
        return [int(text.split()[0].replace(",", "")) for text in texts(page, "#glance tr[data-group] td:nth-child(3)")]

    head = "#glance th:nth-child(3) button"
    click(page, head)
    assert sizes() == sorted(sizes(), reverse=True)
    click(page, head)
    assert sizes() == sorted(sizes())
    assert page.value("document.querySelector('#glance th:nth-child(3)').ariaSort") == "ascending"


def test_a_search_leaves_the_clusters_with_a_concept(page: Page) -> None:
    concept = texts(page, ".heat tbody th")[0]
    search(page, concept.upper())
    cards = page.value("[...document.querySelectorAll('.card[data-group]:not([hidden])')].map((e) => e.innerText)")
    assert cards
    assert all(concept in card for card in cards)
    rows = page.value("[...document.querySelectorAll('.heat tbody tr:not([hidden]) th')].map((e) => e.textContent)")
    assert concept in rows
    assert all(concept.lower() in row.lower() for row in rows)
    assert len(shown(page, "#groups tr[data-group]")) == len(cards)
    page.value(
        "(() => { const e = document.getElementById('find'); e.value = ''; e.dispatchEvent(new Event('input')); })()"
    )
    assert not page.value("document.querySelectorAll('.card[hidden], tr[data-group][hidden]').length")


def test_the_menu_shows_one_colour_at_a_time(page: Page) -> None:
    assert shown(page, ".map .marks") == ["layer layer-0 marks"]
    click(page, ".map label:nth-of-type(3)")
    assert shown(page, ".map .marks") == ["layer layer-2 marks"]
    assert shown(page, ".map .key li")
    assert shown(page, ".map .numbers") == []


def test_a_saved_table_holds_what_it_shows(page: Page) -> None:
    page.value("document.querySelector('#glance').nextElementSibling.click()")
    lines = page.value("saved.text()").lstrip("\ufeff").splitlines()
    rows = page.value(
        "[...document.querySelectorAll('#glance tr')]"
        ".map((r) => [...r.cells].map((c) => c.textContent.replace(/\\s+/g, ' ').trim()))"
    )
    assert len(lines) == len(rows)
    assert lines[-1].replace('"', "") == ",".join(rows[-1])


def test_a_saved_cell_is_no_formula(page: Page) -> None:
    """As in every CSV file of the chain (`spreadsheet.text`)."""
    names = ["=1+1", "a; =1+1", "'@x", "-3 to 4", "-3.5", 'a "b", c']
    page.value(
        f"document.querySelectorAll('#glance tbody td').forEach((e, n) => {{ e.textContent = {names}[n % {len(names)}]; }})"
    )
    page.value("document.querySelector('#glance').nextElementSibling.click()")
    _, *rows = csv.reader(io.StringIO(page.value("saved.text()")))
    assert {cell for row in rows for cell in row} - {""} == {spreadsheet.text(name) for name in names}


def test_the_network_shows_the_pairs_of_a_disease_that_is_typed_or_clicked_on(browser: Page, tmp_path: Path) -> None:
    pairs = [network.pair("C1", "C2", 123), network.pair("C1", "C3", 200), network.pair("C2", "C4", 200)]
    section = layout.Section("relations", relations.content)
    html = layout.render(
        [section], network.made(tmp_path, pairs), layout.Header("", "", {}), "ehr_pipeline.reports.sections"
    )
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    size(browser, WIDE, TALL)
    page = opened(browser, tmp_path / "page.html")
    faint = "[...document.querySelectorAll('.faint')].map((e) => e.dataset.tip)"
    assert page.value(faint) == []
    search(page, "GOUT", "find-pair")
    left = {"Psoriasis", "Rarity"}
    assert {*page.value(faint)} == left | {tip for tip in page.value(TIPS) if "Gout" not in tip}
    assert texts(page, "#found-pairs") == ["Pairs shown: 1"]
    for clicked, hidden in (("Psoriasis", {"Gout"}), ("Psoriasis", set())):  # the second click shows all again
        click(page, f"[data-node][data-tip={clicked}] rect")
        tips = [tip for tip in page.value(TIPS) if clicked not in tip] if hidden else []
        assert {*page.value(faint)} == hidden | {*tips}


def test_in_print_everything_is_open_pages_have_numbers_and_heads_are_repeated(page: Page) -> None:
    pypdf = pytest.importorskip("pypdf")  # of the extra `dev`
    closed = page.value("document.querySelectorAll('details:not([open])').length")
    assert closed > 5
    page.value(
        "window.during = -1; addEventListener('beforeprint', () => {"
        " during = document.querySelectorAll('details:not([open])').length; })"
    )
    low = 5  # inches: the table of all clusters needs two sheets
    printed = page.command("Page.printToPDF", printBackground=True, paperHeight=low)["data"]
    assert page.value("during") == 0
    assert page.value("document.querySelectorAll('details:not([open])').length") == closed
    sheets = [sheet.extract_text() for sheet in pypdf.PdfReader(io.BytesIO(base64.b64decode(printed))).pages]
    assert all(f"{n} / {len(sheets)}" in sheet for n, sheet in enumerate(sheets, 1)), "numbers of pages"
    assert page.value("[...document.querySelectorAll('table:not(.facts)')].every((t) => t.tHead)")
    assert page.value("!!document.querySelector('#glance th button')"), "which would keep its head from being repeated"
    assert sum(bool(re.search(r"Recognised\s+\(by chance\)", sheet)) for sheet in sheets) > 1


def test_in_print_nothing_is_wider_than_the_sheet(page: Page) -> None:
    size(page, SHEET, TALL)
    page.command("Emulation.setEmulatedMedia", media="print")
    try:
        page.value("for (const part of document.querySelectorAll('details')) part.open = true")
        parts = "[...document.querySelectorAll('main table, main svg, main img')]"
        right = f"{parts}.map((e) => [e.id || e.className.baseVal || e.className || e.tagName, e.getBoundingClientRect().right])"
        assert [found for found in page.value(right) if found[1] > SHEET + 1] == []
    finally:
        page.command("Emulation.setEmulatedMedia", media="")


def test_it_reads_well_without_scripts(browser: Page, file: Path) -> None:
    browser.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        size(browser, WIDE, TALL)
        page = opened(browser, file)
        assert shown(page, ".map .marks") == ["layer layer-0 marks"]
        assert not page.value("document.querySelectorAll('.save').length")
        assert not shown(page, ".scripted")
        click(page, ".map label:nth-of-type(2)")
        assert shown(page, ".map .marks") == ["layer layer-1 marks"], "the menu is of the browser's own"
    finally:
        browser.command("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.parametrize("room", ["reports", "prediction_report"])
def test_axe_finds_nothing_serious(browser: Page, request: pytest.FixtureRequest, tmp_path: Path, room: str) -> None:
    if room == "reports":
        made: Path = request.getfixturevalue("file")
    else:  # the tiny study has no task
        made = tmp_path / "page.html"
        results = replace(predictions.findings(predictions.whole(), tmp_path), forecasts=foreseen())
        made.write_text(prediction_page.render(results), encoding="utf-8")
    size(browser, WIDE, TALL)
    page = opened(browser, made)
    page.value((files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8"))
    page.value("for (const part of document.querySelectorAll('details')) part.open = true")
    for width, options in ((WIDE, {}), (390, NARROW)):
        size(page, width, TALL)
        assert until(lambda: all(scrolls == stop for scrolls, stop in page.value(SCROLLING)), 10)
        found = page.value(AXE % json.dumps(options))
        assert found[0] > (10 if width == WIDE else 0)
        assert found[1] == []
    assert any(scrolls for scrolls, _ in page.value(SCROLLING)), "on the small screen"
