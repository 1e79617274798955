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
        return say(
            "{agreed} agree best on {best}, the number on this page (adjusted Rand index {index:.2f}).",
            agreed=agreed,
            best=best,
            index=agreement[best],
        )
    most = max(n for n, mean in agreement.items() if mean >= agreement[best] - AS_GOOD)
    alike = f"; almost as well on up to {most}" if most > best else ""
    own = ""
    if asked in agreement and asked != most:
        above = sum(mean > agreement[asked] for mean in agreement.values())
        own = f"; {agreement[asked]:.2f} with {asked}, less than with {above} of the {len(agreement)} numbers"
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
            "The largest number of clusters that the records support was not examined{made}.",
            made="; there is one cluster" if chosen else f": the settings ask for {asked}",
        )
    halves = markup(
        "(of 2 to {most} tried) for which the two halves of a record agree overall, and also on each cluster against its nearest"
        " rival (kappa at least {least:.1f}, p &lt; 0.05; this is a weaker test than “recognised”)",
        most=max(tried),
        least=LEAST,
    )
    if largest == 1:
        number = say("No number of clusters was found {halves}", Rate.CLUSTER, halves=halves)
    else:
        number = say(
            "{largest} is the largest number of clusters {halves}", Rate.CLUSTER, largest=largest, halves=halves
        )
    if chosen:
        so = "so the patients are not divided" if largest == 1 else "so the patients were divided into this number"
    else:
        so = "the settings ask for this number" if asked == largest else f"the settings ask for {asked}"
    return say("{number}; {so}.", Rate.CLUSTER, number=number.text, so=so)


def how_supported(most: int) -> list[Statement]:
    """Explain the agreement of the halves of a record, and prediction strength. `most`: largest number of patients examined."""
    return [
        say(
            "Halves of a record: the visits of each patient are divided at random into two halves, and each half is assigned to a"
            " cluster. Kappa: how often the two halves agree beyond chance; chance is how often the halves of two similar"
            " patients agree (same disease and sex, similar age and amount of record). Weakest: the kappa of the cluster that is"
            " hardest to distinguish from its rival, that is, the cluster that receives most of the halves it loses. It can be"
            " above the kappa over all clusters, because it compares only patients with both halves in one of the two clusters;"
            " halves in a third cluster count as disagreement only over all clusters. A number is supported if the kappa of every"
            " cluster is at least {least:.1f} and beyond chance (p &lt; 0.05), and the halves agree over all clusters (p &lt;"
            " 0.05 for all numbers tried together). At most {most:,} patients are examined, drawn at random.",
            least=LEAST,
            most=most,
        ),
        say(
            "Prediction strength (Tibshirani & Walther 2005): the patients are divided into two halves, and each half is"
            " clustered. Of the pairs of patients that one clustering puts into the same cluster, it is the share that the other"
            " clustering also puts together; the smallest of all clusters. From 0.8 or 0.9, clusters are well separated."
        ),
    ]


def how_tried() -> Statement:
    """Explain the agreement of halves."""
    return say(
        "The patients are divided at random into halves, each half is clustered, and the two divisions are compared (mean over"
        " repetitions; bars: standard deviation). 1: the same division; 0: agreement expected by chance. Few clusters agree"
        " easily. Where the line falls, the clusters depend on which patients were drawn."
    )


def columns(limits: str) -> list[Statement]:
    """Explain the comparison of methods. `limits`: the limits of the words for stability (`cluster_reliability.limits`)."""
    return [
        say(
            "Agreement: adjusted Rand index with the clusters of this page. Stability: mean Jaccard coefficient with the clusters"
            " of random halves of the patients (Hennig 2007). On the cards, a single cluster is called {limits}.",
            limits=limits,
        ),
        say("A stable cluster may still be meaningless; the split-half test above examines that."),
    ]


def steadier(methods: Sequence[tuple[str, str]], method: str, own: str) -> Statement | None:
    """Name the methods whose clusters are clearly more stable over other samples, with their stability; None if none is.

    `method` made the page's clusters, which have the stability `own`.
    """
    if not methods:
        return None
    return say(
        "{others} clearly more stable clusters than the method of this page ({names}; {method}, on this page, {own}). The values"
        " are mean Jaccard coefficients over three random halves of the patients; the cards use more halves. A stable cluster"
        " need not be meaningful: a division by age alone would be stable as well. But a cluster that only one method finds,"
        " above all a small one, may come from the method.",
        Rate.CLUSTER,
        others="Another method gives" if len(methods) == 1 else "Other methods give",
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
        "The same number of clusters, made from the same vectors by {others}, agrees with the clusters of this page at an"
        " adjusted Rand index of {index}.",
        others="another method" if len(agreements) == 1 else "other methods",
        index=low if low == high else f"{low} to {high}",
    )
