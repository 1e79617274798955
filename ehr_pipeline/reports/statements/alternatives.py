"""Sentences about the results that other numbers of clusters and other methods would have given."""

from collections.abc import Mapping, Sequence

from ehr_pipeline.clusters.number_of_clusters import LEAST
from ehr_pipeline.reports.statements.statement import Rate, Statement, listed, markup, say

NAMES = {"kmeans": "k-means", "spectral": "spectral clustering", "agglomerative": "agglomerative clustering"}
"""Names of methods in words. For other methods, the name in the settings is used."""
AS_GOOD = 0.01
"""Adjusted Rand indices that differ by less than this count as about the same."""


def how_many(agreement: Mapping[int, float], asked: int, halves: int) -> Statement | None:
    """Compare the page's number of clusters with the number on which random halves of the patients agree best.

    `agreement` is the mean adjusted Rand index by number of clusters, and `halves` is the number of random halves. Returns None if
    no other number was examined.
    """
    if not agreement:
        return None
    agreed = f"Among {min(agreement)} to {max(agreement)} clusters, {halves} random halves of the patients"
    best = max(agreement, key=lambda n: agreement[n])
    if best == asked:
        return say("{agreed} agree best on {best} as well (adjusted Rand index {index:.2f}).", agreed=agreed, best=best,
                   index=agreement[best])  # fmt: skip
    most = max(n for n, mean in agreement.items() if mean >= agreement[best] - AS_GOOD)
    alike = f"; on up to {most} about as well" if most > best else ""
    own = ""
    if asked in agreement and asked != most:
        above = sum(mean > agreement[asked] for mean in agreement.values())
        own = f"; {agreement[asked]:.2f} with {asked}, which {above} of the {len(agreement)} numbers exceed"
    return say(
        "{agreed} agree best on {best} (adjusted Rand index {index:.2f}{alike}{own}).",
        agreed=agreed,
        best=best,
        index=agreement[best],
        alike=alike,
        own=own,
    )


def supported(tried: Sequence[int], largest: int, asked: int, *, chosen: bool) -> Statement:
    """Say how many clusters the data support. `largest` is the largest supported number of those `tried`; 1 if none is supported.

    `asked`: the page's number of clusters; `chosen`: whether the study left it to the data.
    """
    if not tried:
        return say(
            "How many clusters the records support was not examined{made}.",
            made="; there is one" if chosen else f": {asked} {'was' if asked == 1 else 'were'} asked for",
        )
    halves = markup(
        "of 2 to {most} tried, with which the two halves of a record agree overall and, against its nearest rival, on every"
        " single cluster (kappa of {least:.1f} or more, p &lt; 0.05: a weaker test than “recognised”)",
        most=max(tried),
        least=LEAST,
    )
    if largest == 1:
        number = say("There is no number of clusters, {halves}", Rate.CLUSTER, halves=halves)
    else:
        number = say(
            "{largest} is the largest number of clusters, {halves}", Rate.CLUSTER, largest=largest, halves=halves
        )
    if chosen:
        so = "so the patients are not divided" if largest == 1 else "so the patients were divided into as many"
    else:
        so = "as many were asked for" if asked == largest else f"{asked} {'was' if asked == 1 else 'were'} asked for"
    return say("{number}; {so}.", Rate.CLUSTER, number=number.text, so=so)


def how_supported(most: int) -> list[Statement]:
    """Explain the agreement of the halves of a record, and prediction strength. `most`: largest number of patients examined."""
    return [
        say(
            "Halves of a record: one random half of a patient’s visits gets a cluster, and so does the other. Kappa is how often"
            " the two agree beyond chance, which is what the halves of two patients alike in disease, sex, age and amount of"
            " record give. Weakest: the same for the cluster that is least well told apart from its rival, the cluster that takes"
            " most of the halves that it loses. It can be above the kappa over all clusters, since it compares only patients with"
            " both halves in one of the two: a half in a third cluster counts as disagreement over all clusters alone. A number is"
            " supported if all its clusters reach {least:.1f} there, beyond chance (p &lt; 0.05), and the halves agree over all"
            " clusters (p &lt; 0.05 for all numbers tried together). At most {most:,} patients are examined, drawn at random.",
            least=LEAST,
            most=most,
        ),
        say(
            "Prediction strength (Tibshirani & Walther 2005): of the pairs of patients whom one half of the patients puts into one"
            " cluster, the share that the clusters of the other half put together too; the smallest of all clusters. From 0.8 or"
            " 0.9 on, clusters are well separated."
        ),
    ]


def how_tried() -> Statement:
    """Explain the agreement of halves."""
    return say(
        "The patients are divided at random into halves, each half is clustered by itself, and the two divisions are compared (mean"
        " over repetitions; bars: standard deviation). 1 is the same division, 0 what chance gives. Few clusters agree easily;"
        " where the line falls, it depends on who was drawn which clusters there are."
    )


def columns(limits: str) -> list[Statement]:
    """Explain the comparison of methods. `limits`: the limits of the words for stability (`cluster_reliability.limits`)."""
    return [
        say(
            "Agreement: adjusted Rand index. Stability: mean Jaccard coefficient with the clusters of random halves of the patients"
            " (Hennig 2007). On the cards, a single cluster is called {limits}.",
            limits=limits,
        ),
        say("A stable cluster need not mean anything; the split-half test above is about that."),
    ]


def steadier(methods: Sequence[tuple[str, str]], method: str, own: str) -> Statement | None:
    """Name the methods whose clusters are clearly more stable over other samples, with their stability; None if none is.

    `method` made the page's clusters, which have the stability `own`.
    """
    if not methods:
        return None
    return say(
        "Other samples of the patients give the clusters of {others} again clearly better ({names}; those of this page, by"
        " {method}, {own}; mean Jaccard coefficient over three halves, on the cards over more). A stable cluster need not be a"
        " true one: a division by age alone would be stable as well. But what only one method finds, above all small clusters, may"
        " come from the method.",
        Rate.CLUSTER,
        others="another method" if len(methods) == 1 else "other methods",
        names=listed(f"{NAMES.get(name, name)} {value}" for name, value in methods),
        method=NAMES.get(method, method),
        own=own,
    )


def other_divisions(agreements: Sequence[float]) -> Statement | None:
    """Say how far the clusters of other methods agree with those of the page (adjusted Rand indices); None if there are none."""
    if not agreements:
        return None
    low, high = (f"{end(agreements):.2f}" for end in (min, max))
    return say(
        "With as many clusters of the same vectors by {others}, these agree at an adjusted Rand index of {index}.",
        others="another method" if len(agreements) == 1 else "other methods",
        index=low if low == high else f"{low} to {high}",
    )
