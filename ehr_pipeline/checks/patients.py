"""Checks of the cohort's vectors, clusters and trajectories, and of the report page."""

from collections.abc import Callable

from ehr_pipeline.checks.model import Check, Result, check
from ehr_pipeline.checks.rows import rows_taken_up
from ehr_pipeline.clusters import planted
from ehr_pipeline.disclosure.figures import Guard, count_text
from ehr_pipeline.disclosure.kinds import Figure, People, Plain, Score, Share, figures
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.store.count_kinds import declared
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import CLUSTERS, COHORT

EVIDENCE = {
    "clear": "clear evidence that patients differ and conditions go together, as with subgroups or a gradient such as severity",
    "weak": "weak evidence that patients differ and conditions go together, as with subgroups or a gradient such as severity",
    "differ": "patients differ persistently, but are not shown to form subgroups",
    "none": "no evidence of subgroups",
    "untested": "too few patients have enough records to test for subgroups",
}
"""The verdicts of `clusters.evidence`, in words."""


@check()
def everybody_accounted_for(artifact: Artifact, store: Store, study: Study) -> Result:
    """Every cohort patient has a vector, or is counted among those without one."""
    passed = artifact.counts["rows_in"] == store.current(COHORT).counts["kept"]
    dropped = sum(artifact.counts["dropped"].values())
    number = count_text(dropped, study.reports.suppress_below)
    return passed, f"{number} patients of the cohort have none of the chosen concepts, so they have no vector", {}


@check()
def no_empty_cluster(artifact: Artifact, store: Store, study: Study) -> Result:
    """There are as many clusters as asked for, or as the data support, and none is empty."""
    clusters, n = artifact.counts["clusters"], study.clusters.n
    message = (
        f"{clusters} clusters, as many as the data support"
        if n == "auto"
        else f"{clusters} of {n} clusters have patients"
        + (f". Set clusters.n to {clusters}, or to 'auto'" if clusters < n else "")
    )
    return clusters == n or (n == "auto" and clusters >= 1), message, {"clusters": Plain(clusters)}


@check(blocking=False, applies=lambda study: study.clusters.method == "spectral")
def eigenvectors_converged(artifact: Artifact, store: Store, study: Study) -> Result:
    """The eigenvectors behind spectral clusters were computed to full precision."""
    eigen = artifact.counts["eigenvectors"]
    lost = eigen["wanted"] - eigen["converged"]
    message = f"{eigen['converged']} of {eigen['wanted']} eigenvectors converged (largest residual {eigen['largest_residual']:.1e})"
    if lost:
        message += "; the eigenvalues of the graph show no clear gap at this number. choice.csv lists other numbers for clusters.n"
    return not lost, message, {"not_converged": Plain(lost), "largest_residual": Plain(eigen["largest_residual"])}


@check(blocking=False)
def clusters_stable(artifact: Artifact, store: Store, study: Study) -> Result:
    """Clusterings of random halves of the patients agree (clusters.unstable_below)."""
    stability = artifact.counts["stability"]
    counted = ", ".join(f"{number} {word}" for word, number in stability.items() if number)
    return (
        not stability["unstable"],
        f"clusters: {counted} (trust.json)",
        {word: Plain(number) for word, number in stability.items()},
    )


@check(blocking=False)
def evidence_of_subgroups(artifact: Artifact, store: Store, study: Study) -> Result:
    """In the split-half test, clusterings agree more than by chance."""
    test = artifact.counts["split_half"]
    found = figures(artifact.counts, declared(CLUSTERS))["split_half"]
    numbers: dict[str, Figure] = {name: found[name] for name in ("recognised", "expected") if name in found}
    return test["verdict"] in ("clear", "weak", "differ"), f"{EVIDENCE[test['verdict']]}", numbers


@check(blocking=False, applies=lambda study: bool(study.clusters.truth))
def planted_groups(artifact: Artifact, store: Store, study: Study) -> Result:
    """On synthetic extracts, the clusters agree with the planted groups at least as well as clusters made from counts of concepts.

    There is no fixed threshold, because groups are harder to find in some synthetic worlds than in others. Clusters of the same
    patients, made from counts, show how hard it is.
    """
    agreement = planted.read_agreement(artifact.path) or {}
    if not agreement["groups"]:
        return True, "no group was planted", {}
    found = agreement["vectors"]
    index, homogeneity = found[planted.THIS_RUN]["adjusted_rand_index"], found[planted.THIS_RUN]["homogeneity"]
    baseline = found[planted.COUNTS]["adjusted_rand_index"]
    vectors, counts = (found[name]["within_diseases"] for name in (planted.THIS_RUN, planted.COUNTS))
    message = (
        f"adjusted Rand index {index:.3f} (concept counts without a model: {baseline:.3f}); within a disease {vectors:.3f}"
        f" ({counts:.3f}); homogeneity {homogeneity:.3f}"
    )
    return (
        index >= baseline,
        message,
        {
            "adjusted_rand_index": Score(index),
            "homogeneity": Score(homogeneity),
            "baseline_adjusted_rand_index": Score(baseline),
        },
    )


@check()
def clustered_taken_up(artifact: Artifact, store: Store, study: Study) -> Result:
    """Every clustered patient is in the trajectories, or is counted as left out."""
    if artifact.counts["windows"] == "off":
        return True, "trajectories.windows = 'off'", {}
    return rows_taken_up(CLUSTERS, "patients")(artifact, store, study)


@check(blocking=False, applies=lambda study: bool(study.clusters.truth))
def planted_changes(artifact: Artifact, store: Store, study: Study) -> Result:
    """On synthetic extracts in which patients change, the transitions found are the planted ones."""
    agreement = artifact.counts.get("agreement")
    if agreement is None or not agreement["changed"]:
        return True, "no change that windows can show was planted", {}
    share, chance, same = (agreement[name] for name in ("changed_found", "changed_found_by_chance", "unchanged_found"))
    changed, unchanged = Share.of(share, People(agreement["changed"])), Share.of(same, People(agreement["unchanged"]))
    guard = Guard(study.reports.suppress_below)
    message = (
        f"{guard.percent(changed)} of the planted changes were found, with the right group before and after (by chance"
        f" {chance:.0%}); {guard.percent(unchanged)} of the other patients keep their group"
    )
    numbers: dict[str, Figure] = {"changed_found": changed, "by_chance": Score(chance), "unchanged_found": unchanged}
    return share >= 0.5 and same >= 0.7, message, numbers


def page_whole(page: str, applies: Callable[[Study], bool] = Check.applies) -> Check:
    """Return a check that the page in a file of the artifact is complete."""

    def test(artifact: Artifact, store: Store, study: Study) -> Result:
        text = artifact.file(page).read_text(encoding="utf-8")
        outside = text.count('src="http') + text.count('href="http')
        return (
            text.rstrip().endswith("</html>") and not outside,
            f"{len(text) / 1e6:.1f} MB, {outside} links to the network",
            {"megabytes": Plain(len(text) / 1e6)},
        )

    description = "The page is complete, and has no links to other hosts."
    return Check("page_whole", description, test, applies=applies)
