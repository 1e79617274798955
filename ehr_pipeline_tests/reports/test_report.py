import csv
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import pytest

from ehr_pipeline.clusters import evidence
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.patients.settings import PUBLIC_KEY
from ehr_pipeline.reports import cards, layout, page, ranking
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.reports.layout import Section
from ehr_pipeline.reports.sections import settings, truth
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.conftest import tiny_settings


class Text(HTMLParser):
    """The words of a page, and its elements that should stand only once."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.ids: list[str] = []
        self.sources: list[str] = []
        self._silent = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent = tag in ("style", "script")
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.sources += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)


@pytest.fixture(scope="module")
def html(tiny: Pipeline) -> str:
    return tiny.store.current("cluster_reports").file("report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(html: str) -> Text:
    parser = Text()
    parser.feed(html)
    return parser


@pytest.fixture(autouse=True)
def the_report_of_the_others(tiny: Pipeline) -> Iterator[None]:
    """Make the common store's current report the common one again after a test that made another there."""
    yield
    tiny.cluster_reports()


def test_the_page_tells_the_whole_story(tiny: Pipeline, text: Text) -> None:
    words = " ".join(text.words)
    for part in (
        "evidence",
        "Map of patients",
        "Clusters",
        "Bias audit",
        "Concept check",
        "Patients left out: from raw rows to clusters",
        "Comparison with the published study",
    ):
        assert part in words
    assert {f"cluster-{number}" for number in range(1, 9)} <= set(text.ids)
    assert len(set(text.ids)) == len(text.ids)
    assert "36,058" in words
    assert re.search(
        r"p < 0\.05; this is a weaker test than “recognised”\); the settings ask for (8|this number)\.", words
    )
    assert "From half of the record, the cluster is recognised for" in words
    assert re.search(
        r"Of (?:about )?[\d,]+ rows of events, (?:about )?[\d,]+ \([\d.]+ %\) are in the patient data set. Largest losses",
        words,
    )
    assert re.search(r"Minimum visits per patient\s+3\b", words)
    assert "placeholder date" in words
    assert words.index("These patients are invented.") < re.search("evidence of (subgroups|lasting)", words).start()
    said = json.loads(tiny.store.current("clusters").file("evidence.json").read_text())["verdict"]
    headline = {"differ": "Patients differ persistently", "weak": "Weak evidence", "clear": "Clear evidence"}
    assert headline[said] in words
    assert "unstable below 0.60" in words
    for question in (
        "Who is in each cluster",
        "How certain is this",
        "artefact",
        "How many patients and events were lost",
        "What was read, and is it complete",
        "Which settings and versions were used",
        "May this page be released",
    ):
        assert question in words
    assert re.search(rf"Read: extract {EXTRACT} \(\d files; every file in its folder\)\. \d\d\.\d % of the rows", words)
    assert re.search(r"Of [\w, ]+ rows of patients read, [\w, ]+ are in clusters\. Left out: ", words)
    assert re.search(
        r"recognised for [<>]?[\d.]+ % of its patients \((about |[<>])\d+ were tested\); by chance, it would be [\d.]+ %",
        words,
    )
    assert re.search(r"over all concepts and clusters \([\d,]+ tests\)", words)
    flat = " ".join(words.split())
    assert re.search(r"(about [\d,]+|[<>]\d+) tested", flat)
    assert re.search(r"(clear|weak|none|too few) ([<>]-?\d\.\d\d|-?\d\.\d\d \(-?\d\.\d\d( to |–)-?\d\.\d\d\))", flat)
    assert re.search(r"(stable|doubtful|unstable) \d\.\d\d \(\d\.\d\d–\d\.\d\d\)", " ".join(words.split()))


def test_pictures_have_names_and_tables_heads(html: str) -> None:
    assert not [
        picture
        for picture in re.findall(r"<img [^>]*>", html)
        if len((re.findall('alt="([^"]*)"', picture) or [""])[0]) < 10
    ]
    assert not [table for table in re.findall(r"<table.*?</table>", html, re.DOTALL) if "<th" not in table]


def test_p_values_say_when_they_are_bounds_and_what_they_count(tiny: Pipeline, extract: Path, text: Text) -> None:
    assert "repeated records of one patient count as independent" in " ".join(" ".join(text.words).split())
    rules = {"ranking": "published"}
    study = tiny_settings(extract, study={"store": tiny.study.study.store}, reports=rules)
    html = Pipeline(study).cluster_reports().file("report.html").read_text(encoding="utf-8")
    assert "it does not show that a concept marks the cluster" in html
    rows = re.findall(r'<td class="n">([^<]*)</td><td class="n">([^<]*)</td><td class="n part">[^<]*</td>', html)
    shown = {p for row in rows for p in row}
    assert any(p.endswith(" †") for p in shown), "otherwise this tests nothing"
    assert not [p for p in shown if p.startswith("<10") and not p.endswith("†") and p != "<10⁻³⁰⁰"]
    assert not [p for p in shown if (found := re.match("10⁻([⁰¹²³⁴⁵⁶⁷⁸⁹]+)", p)) and len(found[1]) > 3]


def test_the_cards_show_what_passes_the_mark_test(tiny: Pipeline, html: str, text: Text) -> None:
    """Every concept that may be named and passes stands on a card, and a cluster without any says so."""
    with tiny.store.current("cluster_reports").file("enrichment.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    passed = [row for row in rows if row["mark"]]
    assert all(float(row["ln_q_mark_test"]) < np.log(0.05) for row in passed)
    assert {row["mark"] for row in rows if row["ln_q_mark_test"] and float(row["ln_q_mark_test"]) > -2.9} <= {""}
    more = {row["cluster"] for row in passed if int(row["patients"]) >= 10}
    silent = " ".join(text.words).count("Nothing marks this cluster beyond disease, age, sex")
    assert silent >= 8 - len(more)
    assert "it does not show that a concept marks the cluster" not in html


def test_the_page_needs_no_network(text: Text) -> None:
    assert text.sources
    assert all(
        source.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,", "#")) for source in text.sources
    )


def test_no_patient_id_is_on_the_page(html: str, extract: Path) -> None:
    with (extract / "truth/patients.csv").open() as stream:
        ids = [row["patient_id"] for row in csv.DictReader(stream)]
    readable = re.sub(r"base64,[A-Za-z0-9+/=]+", "", html)
    assert not [patient for patient in ids if patient in readable]


def test_the_key_of_the_split_is_on_the_page_only_where_everybody_knows_it(html: str) -> None:
    assert PUBLIC_KEY in html
    of_a_study = {"data_split": {"validation_share": 0.02, "key": "drawn"}}
    assert settings._public(of_a_study) == {"data_split": {"validation_share": 0.02, "key": "(not shown)"}}


def test_small_counts_are_not_on_the_page(tiny: Pipeline, text: Text) -> None:
    """Every number in a column of patients is 0, at least ten, or hidden; and hidden rows show nothing else."""
    with tiny.store.current("cluster_reports").file("enrichment.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    small = [row for row in rows if 0 < int(row["patients"]) < 10]
    assert small, "otherwise this tests nothing"
    words = " ".join(text.words)
    assert "<10" in words
    assert not re.search(r"\b[1-9] patients\b", words)


def test_the_size_of_a_small_cluster_does_not_follow_from_the_others(tiny: Pipeline, extract: Path) -> None:
    """Shares are of the patients in described clusters, so that no total of all patients can be reckoned from them."""
    sizes = np.unique(
        schemas.read(tiny.store.current("clusters").file("clusters.arrow"))["cluster"], return_counts=True
    )[1]
    below = int(np.sort(sizes)[1]) + 1
    rules = {"suppress_below": below}
    study = tiny_settings(extract, study={"store": tiny.study.study.store}, reports=rules)
    html = Pipeline(study).cluster_reports().file("report.html").read_text(encoding="utf-8")
    found = re.findall(r">([\d,]+) patients \(([\d.]+) %\)", html)
    told = [int(size) for size, _ in found]
    assert sorted(told) == sorted(size for size in sizes.tolist() if size >= below)
    assert len(told) < len(sizes)
    assert [share for _, share in found] == [f"{100 * size / sum(told):.1f}" for size in told]
    assert f"fewer than {below} patients" in html


def table_of(patients: list[list[int]], sizes: list[int], over: bool = True) -> list[dict[str, cards.ConceptRow]]:
    """The rows by name for each of two clusters, of concepts "one" and "two" with some numbers of patients."""
    from ehr_pipeline.reports.enrichment import Enrichment
    from ehr_pipeline.vocabulary.table import Concept, Vocabulary

    vocabulary = Vocabulary((Concept(5, "C5", "one", (), 1, 1), Concept(6, "C6", "two", (), 1, 1)), "x")
    counts = np.array([[0] * 5 + row for row in patients])
    p = np.tile([0.0] * 5 + [-9.0] * 2, (2, 1))
    found = Enrichment(counts, counts, np.array(sizes), p, p, np.full((2, 7), 2.0), np.full((2, 7), over), p)
    tables = cards.concept_tables(found, ranking.published(found, 9, 0.1), vocabulary, Disclosure(10))
    return [{row.name: row for row in table} for table in tables]


def test_rows_of_small_counts_betray_nothing() -> None:
    first, second = table_of([[40, 3], [50, 90]], [80, 100], over=False)
    hidden = first["two"]
    assert (hidden.patients, hidden.share, hidden.lift, hidden.interval) == ("<10", "–", "–", "")
    assert (hidden.elsewhere, hidden.p) == ("–", "<0.001"), "elsewhere is one cluster: its share would tell the total"
    assert (first["one"].patients, first["one"].share, first["one"].lift) == ("40", "50.0 %", "1.00")
    assert second["two"].lift == "–", "the small count outside would follow from it"
    assert second["two"].patients == "about 90"
    assert (hidden.bounded, first["one"].bounded) == (True, False)


def test_a_concept_that_marks_a_cluster_through_a_few_patients_is_not_named() -> None:
    assert set(table_of([[40, 3], [50, 90]], [80, 100])[0]) == {"one"}


def test_a_concept_that_few_patients_have_at_all_is_not_named() -> None:
    """That it is recorded less often here than elsewhere says that somebody elsewhere has it."""
    assert set(table_of([[40, 0], [50, 9]], [80, 100], over=False)[0]) == {"one"}
    assert set(table_of([[40, 0], [50, 10]], [80, 100], over=False)[0]) == {"one", "two"}


def test_the_few_who_lack_a_concept_are_guarded_too() -> None:
    row = table_of([[78, 40], [50, 40]], [80, 100])[0]["one"]
    assert (row.patients, row.share, row.p_patients) == (">70", ">87 %", "<0.001")


@pytest.mark.parametrize(
    ("log_p", "shown"), [(0.0, "1.000"), (-3.0, "0.050"), (-130.0, "10⁻⁵⁷"), (-690.0, "10⁻³⁰⁰"), (-1e5, "<10⁻³⁰⁰")]
)
def test_p_values_as_text(log_p: float, shown: str) -> None:
    assert cards.p_text(log_p) == shown


def test_tables_for_notebooks(tiny: Pipeline) -> None:
    artifact = tiny.store.current("cluster_reports")
    with artifact.file("enrichment.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["cluster"] for row in rows} <= {str(n) for n in range(1, 9)}
    audit = json.loads(artifact.file("audit.json").read_text())
    assert [row["attribute"] for row in audit] == [
        "age",
        "concepts",
        "sex",
        "disease",
        "region",
        "treatment",
        "ethnicity",
        "practice",
        "year",
    ]
    agreement = json.loads(artifact.file("agreement.json").read_text())
    assert len(agreement["recovered"]) == 10
    (own, of_own), (others, of_others) = agreement["own"], agreement["others"]
    assert of_others > 5 * of_own > 0
    assert others / of_others <= max(own / of_own, 0.05), "companions of other groups hardly ever mark a cluster"


def test_a_page_of_one_cluster_is_clear(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    """Everything after the clusters works with one; the page says that nothing is divided, and shows no cards."""
    store = shutil.copytree(tiny.study.study.store, tmp_path / "store")
    study = tiny_settings(extract, study={"store": str(store)}, clusters={"n": 1, "examine_up_to": 5})
    pipeline = Pipeline(study)
    pipeline.clusters()
    pipeline.patient_trajectories()
    pipeline.cluster_reports()
    assert pipeline.store.current("clusters").counts["clusters"] == 1
    html = pipeline.store.current("cluster_reports").file("report.html").read_text(encoding="utf-8")
    assert "These patients are not divided." in html
    assert "so there are no cards" in html
    assert "All patients are in one cluster" in html
    assert 'id="cluster-1"' not in html
    assert 'href="#audit"' not in html
    assert 'href="#glance"' not in html


def test_where_dates_are_shifted_the_calendar_is_left_out(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    """Of the audit, the map, the tests of clusters and the expected moves; the page says so once."""
    store = shutil.copytree(tiny.study.study.store, tmp_path / "store")
    pipeline = Pipeline(tiny_settings(extract, study={"store": str(store), "shifted_dates": True}))
    pipeline.clusters()
    pipeline.patient_trajectories()
    pipeline.cluster_reports()
    assert set(evidence.read(pipeline.store.current("clusters").path)["again"]) == {"practice"}
    report = pipeline.store.current("cluster_reports")
    audit = json.loads(report.file("audit.json").read_text())
    assert "year" not in [row["attribute"] for row in audit]
    shown = report.file("report.html").read_text(encoding="utf-8")
    before = tiny.store.current("cluster_reports").file("report.html").read_text(encoding="utf-8")
    said = "Each patient’s dates are shifted by a random number of days"
    assert (shown.count(said), before.count(said)) == (1, 0)
    for word in ("Records of the years", "Year of the first", "calendar year of the first", "calendar year and amount"):
        assert word in before, word
        assert word not in shown, word


def test_a_cohort_without_evidence_is_told_as_such(
    tiny: Pipeline, extract: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says so at the top, gives clusters no names, and folds them away."""
    evidence = {
        "recognised": 0.2,
        "expected": 0.2,
        "excess": 0.0,
        "p": 0.5,
        "patients": 400,
        "verdict": "none",
        "interval": [-0.02, 0.02],
        "tested": "about 400",
        "permutations": 200,
        "per_cluster": {},
        "expected_per_cluster": {},
        "patients_per_cluster": {},
        "interval_per_cluster": {},
        "persistent": False,
        "explained": [],
        "traits": {"p": None, "diseases": {}, "others": 0, "own": None, "found": None},
    }
    monkeypatch.setattr(Findings, "evidence", evidence)
    monkeypatch.setattr(truth, "agreement", lambda findings: None)
    study = tiny_settings(extract, study={"store": tiny.study.study.store}, reports={"title": "Nothing"})
    html = Pipeline(study).cluster_reports().file("report.html").read_text(encoding="utf-8")
    assert "No evidence of subgroups in this cohort" in html
    assert "invented" not in html, "real patients, as far as the page knows"
    assert "division 1 (not a finding)" in html
    assert html.index("Show the division of the cohort all the same") < html.index('id="cluster-1"')


def test_cards_without_stability_or_evidence_are_folded(
    tiny: Pipeline, extract: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {1: ("unstable", "none"), 2: ("unstable", "weak"), 3: ("stable", "none")}

    shown = {"verdict": "clear", "tested": "about 400", "permutations": 60}
    clear = json.loads(tiny.store.current("clusters").file("evidence.json").read_text()) | shown
    monkeypatch.setattr(Findings, "evidence", clear)
    described = Findings.cards.func

    def doctored(findings: Findings) -> list[dict[str, Any]]:
        made = described(findings)
        for card in made:
            words, evidence = kinds.get(card["number"], ("stable", "clear"))
            card |= {"evidence": evidence, "stability": card["stability"] | {"words": words}}
        return made

    monkeypatch.setattr(Findings, "cards", property(doctored))
    study = tiny_settings(extract, study={"store": tiny.study.study.store}, reports={"title": "Folded"})
    html = Pipeline(study).cluster_reports().file("report.html").read_text(encoding="utf-8")
    folded = re.findall(r'<details class="fold">.*?id="cluster-(\d+)"', html, re.DOTALL)
    assert folded == ["1", "2", "3"], "one that cannot be relied on"
    assert html.count("<details") == html.count("</details>")


def test_words_are_explained_and_a_short_training_has_no_curve(html: str, text: Text) -> None:
    words = " ".join(" ".join(text.words).split())
    for word in ("Silhouette", "Jaccard coefficient", "UMAP", "Nats", "sif_constant", "Homogeneity", "Kinship"):
        assert word in words
    for phrase in (
        "of whom the encoder learned",
        "moved by the bias",
        "which is the one over the other",
        "sentinel date",
    ):
        assert phrase not in words
    epochs = html.count('alt="Learning curve') + words.count("No learning curve is drawn")
    assert epochs == 1
    assert "concepts from which the patients’ vectors are made" in words
    assert "A patient can have several of the diseases" in words


def test_texts_are_escaped() -> None:
    with pytest.raises(jinja2.UndefinedError):
        layout.environment(layout.FRAME).get_template("page.html.j2").render({})
    assert layout.environment(page.FOLDER).autoescape


def test_a_cluster_of_one_disease_is_called_by_it() -> None:
    """Three bowel diseases as the name of patients with a skin disease misled a reader."""
    rows = list(table_of([[70, 60], [50, 40]], [80, 100])[0].values())
    assert cards.title(rows, "") == "one, two"
    assert cards.title(rows, "Psoriasis") == "Psoriasis: one, two"
    assert cards.title(rows, "two") == "two: one"
    assert cards.title([], "Psoriasis") == "Psoriasis: no mark"
    assert cards.title([], "") == cards.UNMARKED


def test_the_name_of_a_cluster_says_which_share_has_a_concept_that_most_lack() -> None:
    """A cluster was called "Smoker" of which three in four do not smoke."""
    rows = list(table_of([[20, 60], [5, 20]], [80, 200])[0].values())
    assert [cards.title([row], "") for row in rows] == [f"one ({rows[0].share})", "two"]
    shares = {
        "25.5 %": True,
        "8–10 %": True,
        "about 7 %": True,
        "<1 %": True,
        "45–52 %": False,
        ">81 %": False,
        "–": False,
    }
    for share, told in shares.items():
        assert ("(" in cards.title([replace(rows[0], share=share)], "")) == told, share


@pytest.mark.parametrize(("psoriasis", "called"), [(16, "Psoriasis"), (15, ""), (9, "")])
def test_a_disease_dominates_a_cluster_of_which_it_is_more_than_half(psoriasis: int, called: str) -> None:
    others = ["Eczema"] * (15 if psoriasis > 9 else 3)
    diseases = ["Psoriasis"] * psoriasis + others
    size = len(diseases)
    people = pa.table({"age": [40.0] * size, "concepts": [9] * size, "sex": ["F"] * size, "disease": diseases})
    assert cards.describe(people, np.ones(size, bool), size, [], Disclosure(10))["dominant"] == called


def test_a_section_is_a_template_and_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may show all that the others do, appears with its link, and is left out where it has nothing to tell."""
    folder = Path(page.__file__).parent / "sections"
    names = {path.name.removesuffix(".html.j2") for path in folder.glob("*.j2")}
    assert names == {section.name for section in page.SECTIONS}

    def content(findings: Findings) -> dict[str, Any]:
        return {"name": f"<{findings.inputs.study}>"}

    templates = jinja2.DictLoader({"more.html.j2": '<h2 id="more">{{ name }}</h2>'})
    monkeypatch.setattr(page, "SECTIONS", (Section("more", content, "More"), Section("less", lambda _: None, "Less")))
    environment = layout.environment(page.FOLDER)
    monkeypatch.setattr(environment, "loader", jinja2.ChoiceLoader([templates, environment.loader or templates]))
    inputs = Inputs("study", [], {}, {}, 0, {})
    html = page.render(Findings(inputs, ReportsSettings(), tmp_path))
    assert '<h2 id="more">&lt;study&gt;</h2>' in html
    assert '<a href="#more">More</a>' in html
    assert "less" not in html.lower()
