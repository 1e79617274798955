"""The bias audit in words: how strongly clusters follow attributes of the patients, or of the recording."""

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

from markupsafe import Markup

from ehr_pipeline.encoder.settings import BIRTH_DECADE
from ehr_pipeline.reports.bias_audit import BANDS, RECORDING, RESAMPLES, Effect, in_words, strong
from ehr_pipeline.reports.statements.statement import (
    Rate,
    Statement,
    cluster_link,
    counted,
    listed,
    markup,
    percent,
    say,
)
from ehr_pipeline.reports.uneven_clusters import LEAST

TELLS = {"negligible": "next to nothing", "small": "little", "medium": "a good deal", "large": "a great deal"}


def meaning(effect: Effect) -> Statement:
    """Say what an effect means."""
    if effect.value is None:
        return say("The association with {name} could not be tested: {why}.", name=effect.name, why=effect.why)
    if effect.chance:
        return say("No association with {name} was found.", Rate.AUDIT, name=effect.name)
    if effect.measure == "η²":
        share = f"{100 * effect.value:.0f} %"
        return say(
            "{share} of the variation in {name} is between the clusters.", Rate.AUDIT, share=share, name=effect.name
        )
    return say(
        "The cluster of a patient says {much} about {name}.", Rate.AUDIT, much=TELLS[effect.words], name=effect.name
    )


def by_construction(effect: Effect, *, diseases: bool, ages: bool, predicted: Collection[str] = ()) -> Statement | None:
    """Say that clusters follow what their vectors are made of: codes of the cohort's diseases, ages, and attributes that the
    encoder was trained to predict. None for other attributes, and for those of which nothing can be said."""
    if effect.value is None:
        return None
    if diseases and effect.attribute == "disease":
        return say("This is so by construction: the vectors contain codes of the diseases.")
    if ages and effect.attribute == "age":
        return say("This is so by construction: the vectors contain the mean age at which concepts were recorded.")
    if effect.attribute in predicted or (effect.attribute == "age" and BIRTH_DECADE in predicted):
        return say(
            "This is so by construction: the encoder, which makes part of the vectors, was trained to predict it."
        )
    return None


def remaining(effect: Effect) -> Statement | None:
    """Say how much of a medium or large effect remains among patients with the same disease; None for smaller effects."""
    if effect.within is None or effect.value is None or effect.words not in ("medium", "large"):
        return None
    size = in_words(effect.within, effect.measure, effect.freedom)
    if size in ("negligible", "small") and 2 * effect.within <= effect.value:
        text = "Among patients of one disease, little of it is left ({within}): most of it comes from the diseases."
    elif size in ("negligible", "small"):
        text = "Among patients of one disease, it is {within}, a {size} effect: the diseases alone do not explain it."
    else:
        text = "Among patients of one disease, it is {within}, still {size}: the diseases alone do not explain it."
    within = f"{effect.within:.2f}"
    if effect.within_low is not None and effect.within_high is not None:
        within += f", 95 % interval {effect.within_low:.2f}–{effect.within_high:.2f}"
    return say(text, Rate.AUDIT, within=within, size=size)


def warnings(effects: Sequence[Effect]) -> list[Statement]:
    """Return a warning for each medium or large effect, except that of disease."""
    return [
        say(
            "The clusters are associated with {name} ({measure} {value:.2f}, a {words} effect), so they may reflect {what} rather"
            " than kinds of disease. {left}",
            Rate.AUDIT,
            name=effect.name,
            measure=effect.measure,
            value=effect.value,
            words=effect.words,
            what="recording habits" if effect.attribute in RECORDING else "this",
            left=remaining(effect) or "",
        )
        for effect in strong(effects)
    ]


def of_some_practices(numbers: Sequence[int]) -> Statement | None:
    """Say which clusters take their patients from other practices than the rest; None if there are none."""
    if not numbers:
        return None
    one = len(numbers) == 1
    return say(
        "{clusters} {take} patients from different practices than the other clusters: at least {least} of these patients, beyond"
        " chance, would have to come from another practice to match the rest (p &lt; 0.05 over all clusters, by permutation)."
        " {it} may show how those practices record, rather than a kind of disease.",
        Rate.AUDIT,
        clusters=_clusters(numbers),
        take="takes its" if one else "take their",
        least=percent(LEAST),
        it="It" if one else "Each",
    )


def except_for(numbers: Sequence[int]) -> Statement | None:
    """Say that single clusters are exceptions to an effect over all clusters (`of_some_practices`); None if there are none."""
    return say("Single clusters differ from the rest: see above.", Rate.AUDIT) if numbers else None


def comes_from_some_practices() -> Statement:
    """Say on the card of a cluster that its patients come from other practices than the rest."""
    return say(
        "different from those of the other clusters: the cluster may show how these practices record (see the <a"
        ' href="#audit">bias audit</a>)',
        Rate.AUDIT,
    )


def day_that_stands_out(day: tuple[str, float] | None) -> Statement | None:
    """Say that far more is dated on one day of the year (its name, its share of records) than on others; None without such a
    day."""
    if day is None:
        return None
    return say(
        "{share} of the records of these patients are dated {name}; for an ordinary day of the year, it would be 0.3 %. Such"
        " dates may stand for unknown days. Ages, visits and changes over time depend on them.",
        share=percent(day[1]),
        name=day[0],
    )


def _clusters(numbers: Sequence[int]) -> Markup:
    links = listed(cluster_link(number) for number in numbers)
    return markup("{noun} {links}", noun="Cluster" if len(numbers) == 1 else "Clusters", links=links)


def purpose(attributes: int, *, several_diseases: bool) -> list[Statement]:
    """Say what the audit is for, and explain its columns. `attributes`: how many have an effect."""
    limits = " or ".join(f"{listed(f'{value:g}' for value in bands)} ({measure})" for measure, bands in BANDS.items())
    return [
        say(
            "{disease}A large effect of age, of the number of concepts, or of where and when patients were recorded suggests that"
            " the clusters reflect age or the amount of recording rather than kinds of disease.",
            disease="A large effect of disease is expected. " if several_diseases else "",
        ),
        say(
            "Effects are called small, medium or large if they are at least {limits} (Cohen 1988). The limits for Cramér's V"
            " apply to two categories or two clusters; with more, they are divided by the square root of (m − 1), where m is the"
            " smaller of the two numbers.",
            limits=limits,
        ),
        say(
            "Region, practice, ethnicity and treatment come from the patient file, or are derived from codes: one value per"
            " patient, without a date."
        ),
        say(
            "{within}Cramér's V is never below 0, so its interval can start above 0 by chance alone: only p shows whether there"
            " is an association.",
            within="“Within a disease” is the same effect among patients of one disease, combined over all diseases: the diseases"
            " do not explain this part. "
            if several_diseases
            else "",
        ),
        say(
            "p comes from {permutations} permutations. Each of the {tests} stands alone, without correction: without any"
            " association, one in twenty has p &lt; 0.05. All patients in clusters are included, except those without a value for"
            " a number.",
            permutations=RESAMPLES,
            tests=counted(attributes, "attribute"),
        ),
    ]


def p_text(effect: Effect) -> str:
    """Return the permutation p value as text; the smallest possible value is shown as a bound."""
    if effect.p is None:
        return "–"
    return f"<{effect.p:.3f}" if effect.p * (RESAMPLES + 1) < 1.5 else f"{effect.p:.3f}"


def read_as(kinds: Mapping[str, str], given: Mapping[str, str]) -> Statement | None:
    """Say which attributes were read as numbers and which as categories, and which types were guessed; None without attributes."""
    if not kinds:
        return None
    ordered = sorted(kinds.items(), key=lambda pair: pair[1])
    parts = (
        f"{'numbers' if kind == 'number' else 'categories'}: "
        + ", ".join(f"{name}{'' if name in given else ' (guessed)'}" for name, _ in named)
        for kind, named in groupby(ordered, key=lambda pair: pair[1])
    )
    return say(
        "Attributes were read as {parts}. Patients without a number are left out of its row. If a guess is wrong, correct it in"
        " <code>reports.attribute_types</code>.",
        parts="; as ".join(parts),
    )


def without_map(names: Sequence[str], fewest: int) -> Statement | None:
    """Name the attributes without a map; None if all have one."""
    if not names:
        return None
    return say(
        "No map is shown for these attributes, because fewer than two of their groups have {fewest} patients: {names}.",
        fewest=fewest,
        names=listed(names),
    )
