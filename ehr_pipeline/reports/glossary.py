"""Words of the page that a clinician need not know, in plain words."""

WORDS = (
    ("95 % interval", "Where the true value probably lies: the narrower, the surer."),
    (
        "Adjusted Rand index",
        "How far two divisions of the same patients agree: 1 is the same division, 0 what chance gives.",
    ),
    ("Benjamini-Hochberg (BH) value", "A p value made larger, since many concepts were tested at once."),
    ("Chunk", "A piece of a record, of at most as many concepts as the network reads at once."),
    ("Concept", "A clinical meaning of the UMLS, for which many codes may stand. The page counts concepts, not codes."),
    ("Concept profile", "Which share of a patient's record each concept takes."),
    ("Cosine", "How alike two vectors are in direction: 1 the same, 0 nothing in common."),
    (
        "Cramér's V, η² (eta squared)",
        "How far an attribute and the clusters go together, from 0 (not at all) to 1 (fully): V for categories such as sex, η²"
        " for numbers such as age.",
    ),
    ("Embedded", "Turned into a vector."),
    ("Encoder", "The neural network that learned from all records which concepts go together."),
    ("Held-out", "Set aside when the network learned, to see how it does on patients whom it does not know."),
    ("Homogeneity", "Whether each cluster holds patients of one planted group only: 1 yes, 0 no more than chance."),
    (
        "Jaccard coefficient",
        "Of the patients who are in either of two clusters, the share who are in both: 1 the same patients, 0 none in common.",
    ),
    (
        "Kinship",
        "Which part of a recorded concept is counted for concepts like it, so that two patients with like diagnoses are alike.",
    ),
    (
        "Lift",
        "The share of the cluster's patients with a concept, divided by the share of the other patients: 2 is twice as many.",
    ),
    (
        "Naive Bayes",
        "A simple way to tell a cluster from the concepts of a record: each concept speaks for the clusters that have it often.",
    ),
    (
        "Nats",
        "A unit of surprise: 0 where the network is sure and right; it is larger the less it expected the concept.",
    ),
    (
        "Permutation test",
        "The same reckoned with patients dealt to clusters at random, to see what chance alone gives.",
    ),
    (
        "Pooled, chosen concepts",
        "Those concepts of a record that decide the patient's vector; the network reads the others too.",
    ),
    (
        "Preset",
        "A set of choices in the settings, under one name. 'recommended' is the one that did best on patients with known truth.",
    ),
    (
        "Projection, UMAP",
        "A drawing in two dimensions of vectors that have many: near ones stay near, far distances mean nothing.",
    ),
    ("Quartiles", "The middle half of the patients lies between them; the median is the middle one."),
    ("Resamples", "The same reckoned again on random draws of the patients, to see how much rests on chance."),
    ("Semantic type", "The kind of thing that a concept is in the UMLS, such as a disease, a finding or a drug."),
    (
        "sif_constant",
        "Where rare concepts count for more than frequent ones, how much so (smaller: more); without effect where all count alike.",
    ),
    (
        "Silhouette",
        "How much nearer patients lie to their own cluster than to the next: 1 apart, 0 touching, below 0 mixed.",
    ),
    ("SNOMED CT", "The terminology in which general practices record; its codes are mapped to concepts of the UMLS."),
    (
        "Spatial median",
        "The middle of the patients' vectors: the point from which the directions to all of them cancel out.",
    ),
    (
        "Spectral clustering",
        "Divides a network of patients, each tied to those most like them, where the fewest ties are cut.",
    ),
    (
        "Split-half test",
        "Whether the cluster of one random half of a patient's visits can be told from the other half, and better than from the"
        " record of somebody alike in disease, age, sex and amount of record.",
    ),
    ("Token", "One recorded concept of a record, as the network reads it."),
    (
        "Treatment, region, ethnicity, practice",
        "What the patient file says, or the codes it was derived from: one value a patient, of no date.",
    ),
    (
        "UMLS",
        "The Unified Medical Language System of the US National Library of Medicine, which joins terminologies by concept.",
    ),
    ("Vector", "A row of numbers that stands for a patient or a concept; like ones have like numbers."),
)
"""A word, and what it means; by the alphabet."""
