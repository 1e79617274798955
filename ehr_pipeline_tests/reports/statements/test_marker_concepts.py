"""What is said of marks, and of the published ranking."""

from ehr_pipeline.reports.statements import marker_concepts


def test_a_cluster_without_marks() -> None:
    told = marker_concepts.no_marks("disease, age, sex and amount of record", 10, 3120)
    assert str(told).startswith(
        "Nothing marks this cluster beyond disease, age, sex and amount of record: of the concepts"
    )
    assert "value below 0.05 over 3,120 tests of clusters and concepts" in str(told)
    assert told.rate == "marks"


def test_the_published_ranking_is_named_as_what_it_is() -> None:
    assert "a random division" in str(marker_concepts.cloud_of_the_published_ranking())
    mark_test, listed = marker_concepts.methods("disease", 50, 0.1, (3120, 9876), is_tested=True)
    assert "similar patients (disease)" in str(mark_test)
    assert "fitted tails, not shares of random permutations" in str(mark_test)
    assert "at least 10 patients have: 3,120 tests." in str(mark_test)
    assert str(listed).endswith(
        "the first 50 with p below 0.1 are shown. Occurrences are visits, and repeated records of one patient count as"
        " independent: these values rank the concepts and control no error, and a random division of the patients gives as many."
        " Their BH values are over 9,876 tests. It is only in enrichment.csv."
    )
    assert str(marker_concepts.methods("disease", 50, 0.1, (3120, 9876), is_tested=False)[1]).endswith(
        "The cards of this page show it."
    )


def test_the_cards_promise_error_control_only_where_there_is_some() -> None:
    tested, listed = (
        " ".join(map(str, some)) for some in (marker_concepts.tested("disease", 3120), marker_concepts.published())
    )
    assert (
        "over all concepts and clusters (3,120 tests). If the division means nothing, at most one cohort in twenty"
        in tested
    )
    assert (
        "Clusters are named by, and compared by, concepts that pass the test and whose whole lift interval is above 1"
        in tested
    )
    assert "None of these p values is an error rate" in listed
    assert "none" not in tested.lower()


def test_companions_of_other_groups_are_told_beside_those_of_the_own() -> None:
    told = str(marker_concepts.companions((26, 30), (0, 240)))
    assert told.startswith("26 of 30 companion concepts mark the main cluster of their group")
    assert "So do 0 of 240" in told
    assert "do not show which group" in str(marker_concepts.companions((23, 46), (0, 0))), (
        "one main cluster for all groups"
    )
