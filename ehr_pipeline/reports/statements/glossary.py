"""A glossary of the page's words, in alphabetical order."""

WORDS = (
    (
        "95 % interval",
        "Made so that it contains the true value in 95 of 100 such samples of patients: the narrower, the surer.",
    ),
    (
        "Adjusted Rand index",
        "How far two divisions of the same patients agree: 1 is the same division, 0 what chance gives.",
    ),
    (
        "Benjamini-Hochberg (BH) value",
        "A p value made larger, because many tests were made at once. Of the results with a value below 0.05, about 5 % at most"
        " are expected to be false (the false discovery rate), where the p values themselves are valid.",
    ),
    ("Chunk", "A piece of a record, of at most as many concepts as the network reads at once."),
    (
        "Concept",
        "A clinical meaning of the UMLS, for which many codes may stand, or, where a code is kept without a mapping to the UMLS,"
        " this code.",
    ),
    ("Concept profile", "Which share of a patient’s record each concept takes."),
    ("Cosine", "How alike two vectors are in direction: 1 the same, 0 nothing in common."),
    (
        "Cramér's V, η² (eta squared)",
        "How strongly an attribute and the clusters are associated, from 0 (not at all) to 1 (fully): V for"
        " categories such as sex, η² for numbers such as age.",
    ),
    ("Embedded", "Turned into a vector."),
    ("Encoder", "The neural network that learned from all records which concepts go together."),
    (
        "Excess",
        "How far the share of patients whose cluster is recognised is above chance, as a part of what chance leaves: 0 is"
        " chance, 1 is certain.",
    ),
    ("Held-out", "Set aside when the network learned, to see how it does on patients it does not know."),
    ("Homogeneity", "Whether each cluster contains patients of one planted group only: 1 yes, 0 no more than chance."),
    (
        "Jaccard coefficient",
        "Of the patients who are in either of two clusters, the share who are in both: 1 the same patients,"
        " 0 none in common.",
    ),
    (
        "Kinship",
        "The part of a recorded concept that counts for concepts like it, so that two patients with similar"
        " diagnoses are similar.",
    ),
    (
        "Lift",
        "The share of the cluster’s patients with a concept, divided by the share of the other patients: 2"
        " is twice as many.",
    ),
    (
        "Naive Bayes",
        "A simple way to recognise a cluster from the concepts of a record: each concept speaks for the"
        " clusters that have it often.",
    ),
    (
        "Nats",
        "A unit of surprise: 0 where the network is sure and right; the less it expected the concept, the larger.",
    ),
    (
        "Permutation test",
        "The same computed after an exchange at random, to see what chance alone gives: clusters are exchanged among patients, in"
        " the test of subgroups diseases among patients alike, in the concept check neighbours among concepts.",
    ),
    (
        "Pooled, chosen concepts",
        "The concepts of a record that decide the patient’s vector; the network reads the others too.",
    ),
    (
        "Preset",
        "A set of choices in the settings, under one name. “recommended” is the default; “published” is the method of"
        " the published study.",
    ),
    (
        "Projection, UMAP",
        "A drawing in two dimensions of vectors that have many: near ones stay near, large distances mean nothing.",
    ),
    ("Quartiles", "The middle half of the patients lies between them; the median is the middle one."),
    ("Resamples", "The same computed again on random draws of the patients, to see how much depends on chance."),
    ("Semantic type", "The kind of thing that a concept is in the UMLS, such as a disease, a finding or a drug."),
    (
        "sif_constant",
        "Where rare concepts count more than frequent ones, how much so (smaller: more); no effect where all"
        " count alike.",
    ),
    (
        "Silhouette",
        "How much nearer patients lie to their own cluster than to the next: 1 apart, 0 touching, below 0 mixed.",
    ),
    ("SNOMED CT", "A terminology in which general practices record. Its codes can be mapped to concepts of the UMLS."),
    (
        "Spatial median",
        "The middle of the patients’ vectors: the point from which the directions to all of them cancel out.",
    ),
    (
        "Spectral clustering",
        "Divides a network of patients, each linked to those most like them, where the fewest links are cut.",
    ),
    (
        "Split-half test",
        "Whether the cluster of one random half of a patient’s visits can be recognised from the other half,"
        " and better than from the record of somebody alike in disease, age, sex and amount of record.",
    ),
    ("Token", "One recorded concept of a record, as the network reads it."),
    (
        "Treatment, region, ethnicity, practice",
        "What the patient file says, or the codes from which it was derived: one value per patient, without a date.",
    ),
    (
        "UMLS",
        "The Unified Medical Language System of the US National Library of Medicine, which joins"
        " terminologies by concept.",
    ),
    ("Vector", "A row of numbers that stands for a patient or a concept; similar ones have similar numbers."),
)
"""Words, and what they mean on this page."""
