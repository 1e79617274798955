"""A glossary of the page's words, in alphabetical order."""

WORDS = (
    (
        "95 % interval",
        (
            "An interval made so that it contains the true value in 95 of 100 such samples of patients. A narrower interval is more"
            " certain."
        ),
    ),
    (
        "Adjusted Rand index",
        "How well two divisions of the same patients agree: 1 is the same division, 0 is what chance gives.",
    ),
    (
        "Benjamini-Hochberg (BH) value",
        "A p value made larger, because many tests were made at once. Of the results with a value below 0.05, at most about 5 %"
        " are expected to be false (the false discovery rate), if the p values themselves are valid.",
    ),
    ("Chunk", "A piece of a record, with at most as many concepts as the encoder reads at once."),
    (
        "Concept",
        "A clinical meaning in the UMLS; many codes can have the same meaning. A code that is kept without a mapping to the UMLS"
        " is a concept as well.",
    ),
    ("Concept profile", "The share of each concept in a patient’s record."),
    ("Cosine", "How similar the directions of two vectors are: 1 is the same, 0 is nothing in common."),
    (
        "Cramér's V, η² (eta squared)",
        "How strongly an attribute and the clusters are associated, from 0 (not at all) to 1 (completely): V for categories such"
        " as sex, η² for numbers such as age.",
    ),
    ("Embedded", "Turned into a vector."),
    ("Encoder", "The neural network that was trained to predict each concept of a record from the others."),
    (
        "Excess",
        "How far the share of patients whose cluster is recognised is above chance, divided by the distance from chance to 100 %:"
        " 0 is chance, 1 is certain.",
    ),
    ("Held-out", "Not used to train the encoder, to see how well it works for patients it does not know."),
    (
        "Homogeneity",
        "Whether each cluster contains patients of only one planted group: 1 is yes, 0 is no more than chance.",
    ),
    (
        "Jaccard coefficient",
        "Of the patients who are in at least one of two clusters, the share who are in both: 1 is the same patients, 0 is none in"
        " common.",
    ),
    (
        "Kinship",
        "The part of a recorded concept that is credited to similar concepts, so that two patients with similar diagnoses are"
        " similar.",
    ),
    (
        "Lift",
        "The share of the cluster’s patients with a concept, divided by the share among the other patients: 2 is twice as many.",
    ),
    (
        "Mark",
        "A concept that the patients of a cluster have more, or less, often than similar patients, according to the mark test.",
    ),
    (
        "Naive Bayes",
        "A simple way to recognise a cluster from the concepts of a record: each concept counts in favour of the clusters in"
        " which it is frequent.",
    ),
    (
        "Nats",
        "A unit of surprise: 0 if the encoder is certain and right; the less it expected the concept, the larger.",
    ),
    (
        "Permutation test",
        "The same figure, computed after a random exchange, to see what chance alone gives. The bias audit exchanges the clusters"
        " of patients; the test of subgroups, the diseases of similar patients; the concept check, the neighbours of concepts.",
    ),
    (
        "Pooled, chosen concepts",
        "The concepts of a record from which the patient’s vector is made; the encoder also reads the others.",
    ),
    (
        "Preset",
        "A named set of choices in the settings. “recommended” is the default; “published” is the method of the published study.",
    ),
    (
        "Projection, UMAP",
        "A drawing of many-dimensional vectors in two dimensions: near vectors stay near; large distances have no meaning.",
    ),
    ("Quartiles", "The middle half of the patients lies between them. The median is the value in the middle."),
    (
        "Resamples",
        "The same figure, computed again on random draws of the patients, to see how much depends on chance.",
    ),
    ("Semantic type", "The kind of thing that a concept is in the UMLS, such as a disease, a finding or a drug."),
    (
        "sif_constant",
        "A way to give rare concepts more weight than frequent ones. The smaller the value, the stronger the effect; there is no"
        " effect if all concepts count equally.",
    ),
    (
        "Silhouette",
        "How much nearer patients are to their cluster than to the next one: 1 is far apart, 0 is touching, below 0 is mixed.",
    ),
    (
        "Similar patients",
        "In comparisons: patients with the same disease and sex, and of similar age and amount of record (number of concepts).",
    ),
    ("SNOMED CT", "A terminology used to record in general practice. Its codes can be mapped to concepts of the UMLS."),
    (
        "Spatial median",
        "The middle of the patients’ vectors: the point from which the directions to all of them cancel out.",
    ),
    (
        "Spectral clustering",
        (
            "Clustering of a network in which each patient is linked to the most similar patients: it cuts the network where the"
            " fewest links are cut."
        ),
    ),
    (
        "Split-half test",
        "A test of whether the cluster of one random half of a patient’s visits can be recognised from the other half, better"
        " than from the record of a similar patient.",
    ),
    ("Token", "One recorded concept of a record, as the encoder reads it."),
    (
        "Treatment, region, ethnicity, practice",
        "Taken from the patient file, or derived from codes: one value per patient, without a date.",
    ),
    (
        "UMLS",
        "The Unified Medical Language System of the US National Library of Medicine, which joins"
        " terminologies by concept.",
    ),
    (
        "Vector",
        "A row of numbers that represents a patient or a concept; similar patients or concepts have similar numbers.",
    ),
)
"""Words, and their meaning on this page."""
