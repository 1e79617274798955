"""Write a sheet of made-up timelines with forecasts, for clinicians to rate. It contains no patients.

OUT/sheet.html    to print, or to fill in: each timeline with the concepts that may follow
OUT/ratings.csv   the same concepts, one per row, with empty columns for the ratings
OUT/key.csv       which concepts the forecast named, and which only popularity named; to be opened after the rating

Timelines are drawn at random from the synthetic base world, and cut at a random visit. The concepts named by the forecast, and
those named by popularity at that age and sex, are listed together in alphabetical order, so a rater does not know which of the
two named a concept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.errors import UserError
from ehr_pipeline.export.forecast import HEADINGS, LoadedStudy, percent
from ehr_pipeline.forecasts.forecaster import Answer, shard_of
from ehr_pipeline.patients.shard import DAYS_IN_YEAR
from ehr_pipeline.reports.statements.forecasts import WITHIN
from ehr_pipeline.synthetic.worlds.plan import World, make
from ehr_pipeline.synthetic.worlds.write import draw
from ehr_pipeline.tables.schemas import TEXT, schema_of
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT

EACH = 5
"""Number of concepts that the forecast names in each list, and as many that popularity names."""
SHOWN_VISITS = 15
"""Number of visits that the sheet shows: the last ones. The forecast reads all visits."""
FEWEST_VISITS, MOST_VISITS, MOST_TIMELINES = 5, 400, 500
RATINGS = ("plausible", "not plausible", "cannot say")
_RATED = schema_of((TEXT, "timeline list concept name rating remark"))
_KEY = schema_of((TEXT, "timeline list concept probability by_forecast by_popularity"))
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Forecasts to rate</title><style>
body { font: 14px/1.45 system-ui, sans-serif; max-width: 900px; margin: 24px auto; color: #1d2733; }
section { break-inside: avoid; border-top: 2px solid #d9dee4; margin-top: 24px; }
table { border-collapse: collapse; width: 100%; margin: 8px 0; } td, th { text-align: left; padding: 3px 8px 3px 0;
border-bottom: 1px solid #d9dee4; vertical-align: top; } .box { white-space: nowrap; } .soft { color: #5b6773; }
</style></head><body>
<h1>Forecasts to rate</h1>
<p>These {{ timelines|length }} timelines are made up: nobody has them. For each concept below a timeline, please say whether it is
plausible that it is recorded {{ within }}. Some were named by the model, some only because they are frequent at that age; which,
the sheet does not say.</p>
{% for one in timelines %}<section><h2>{{ one.number }}. {{ one.who }}</h2>
{% if one.earlier %}<p class="soft">{{ one.earlier }} earlier visits are not shown.</p>{% endif %}
<table><tr><th>Age</th><th>Recorded</th></tr>
{% for age, names in one.visits %}<tr><td>{{ age }}</td><td>{{ names|join("; ") }}</td></tr>
{% endfor %}</table>
{% for heading, concepts in one.lists %}<h3>{{ heading }}</h3><table>
{% for name in concepts %}<tr><td>{{ name }}</td><td class="box">{% for word in ratings %}☐ {{ word }} &nbsp; {% endfor %}</td></tr>
{% endfor %}</table>{% endfor %}</section>
{% endfor %}</body></html>
"""


@dataclass(frozen=True)
class Timeline:
    """A made-up history: visits (days, token ids), the day of birth, and the sex."""

    visits: list[tuple[int, list[int]]]
    birth: int
    female: bool


def write(opened: LoadedStudy, out: Path, timelines: int, seed: int, horizon: str) -> int:
    """Write the sheet into a new folder, and return how many timelines it has. Raises UserError."""
    if out.exists():
        raise UserError(f"{out} already exists: choose a new folder.")
    if not 1 <= timelines <= MOST_TIMELINES:
        raise UserError(f"A sheet has 1 to {MOST_TIMELINES} timelines, not {timelines:,}.")
    if not opened.forecaster.calibrated(horizon):
        raise UserError(
            "The sheet compares the forecast with popularity, which is counted by the asset forecasts: give the study a test set"
            " (patients.split.test_share), with enough patients on it and on the validation set, and run the chain."
        )
    drawn = synthetic_timelines(opened, timelines, seed)
    flags = opened.flags()
    answers = [
        opened.forecaster.forecast(shard_of(each.visits, each.birth), np.array([each.female]), horizon, flags, EACH)[0]
        for each in drawn
    ]
    out.mkdir(parents=True)
    rows = [row for number, answer in enumerate(answers, 1) for row in _rows(opened, number, answer)]
    spreadsheet.write(out / "ratings.csv", _RATED, [(*row[:4], "", "") for row in rows])
    spreadsheet.write(out / "key.csv", _KEY, [(*row[:3], *row[4:]) for row in rows])
    shown = [
        _as_text(opened, number, each, [row for row in rows if row[0] == str(number)])
        for number, each in enumerate(drawn, 1)
    ]
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(_PAGE)
    text = page.render(timelines=shown, ratings=RATINGS, within=WITHIN[horizon])
    (out / "sheet.html").write_text(text, encoding="utf-8")
    return len(drawn)


def synthetic_timelines(opened: LoadedStudy, many: int, seed: int) -> list[Timeline]:
    """Draw timelines from the synthetic base world, of concepts that the encoder knows and that may be shown. Raises UserError."""
    world = World.of(seed, 0.0)
    block, events = draw(make(world, ["base"]), world, 0)
    known = [
        opened.known.of_text(code) or opened.known.of_text(world.book.concept(row))
        for row, code in enumerate(world.book.codes)
    ]
    token = np.array([each[0] if each else 0 for each in known], np.int64)[events.code]
    rng = np.random.default_rng([seed, 0x5EE7])
    order = np.lexsort((events.day, events.person))
    order = order[token[order] > 0]
    person, day, what = events.person[order], events.day[order], token[order]
    found: list[Timeline] = []
    for number in rng.permutation(np.unique(person)).tolist():
        of_person = person == number
        days, concepts = day[of_person], what[of_person]
        visits = [(int(one), np.unique(concepts[days == one]).tolist()) for one in np.unique(days)]
        if FEWEST_VISITS < len(visits) <= MOST_VISITS:
            end = int(rng.integers(FEWEST_VISITS, len(visits)))
            female = bool(block.people["female"][number])
            found.append(Timeline(visits[:end], int(block.days("birth")[number]), female))
        if len(found) == many:
            return found
    raise UserError(
        f"Only {len(found)} timelines could be made up, as the encoder knows few of the SNOMED codes of the synthetic world. Ask"
        " for fewer, or type histories in (ehr-pipeline forecast HISTORY)."
    )


def _rows(opened: LoadedStudy, number: int, answer: Answer) -> Iterator[tuple[str, ...]]:
    """Yield timeline, list, concept, name, probability, and which of the two named the concept, sorted by name."""
    vocabulary = opened.forecaster.vocabulary
    for name in HEADINGS:
        likely = {one.token: one.probability for one in answer.of(name)}
        usual = answer.usual(name)
        concepts = [vocabulary.concepts[token - FIRST_CONCEPT] for token in {*likely, *usual}]
        for one in sorted(concepts, key=lambda concept: concept.name.lower()):
            token = one.token_id
            probability = percent(likely[token]) if token in likely else ""
            yield (
                str(number),
                name,
                one.concept,
                one.name,
                probability,
                "yes" if token in likely else "no",
                "yes" if token in usual else "no",
            )


def _as_text(opened: LoadedStudy, number: int, timeline: Timeline, rows: list[tuple[str, ...]]) -> dict[str, object]:
    vocabulary = opened.forecaster.vocabulary
    visits = [
        (f"{(day - timeline.birth) / DAYS_IN_YEAR:.1f}", [vocabulary.name(token) for token in tokens])
        for day, tokens in timeline.visits[-SHOWN_VISITS:]
    ]
    return {
        "number": number,
        "who": f"{'A woman' if timeline.female else 'A man'} of {int(float(visits[-1][0]))}",
        "earlier": max(len(timeline.visits) - SHOWN_VISITS, 0),
        "visits": visits,
        "lists": [(heading, [row[3] for row in rows if row[1] == name]) for name, heading in HEADINGS.items()],
    }
