"""Settings of the relations of concepts."""

from ehr_pipeline.typed_settings import option, settings


@settings
class ScoresSettings:
    """Scores of pairs from another source."""

    name: str = option("Name of the scores.")
    file: str = option(
        "CSV file with the columns `first`, `second` (each a concept or a code) and `score`; larger is more related.",
        role="list",
    )


@settings
class RelationsSettings:
    """Which concepts are compared, and how."""

    concepts: str = option(
        "Concept list (CSV) of the diseases to compare. Empty: the most frequent concepts of `types`.", "", role="list"
    )
    types: tuple[str, ...] = option(
        "Semantic types (UMLS) of the concepts to compare if `concepts` is empty; by default, disorders. Codes without a type,"
        " as in a study without the UMLS, are compared too.",
        ("T019", "T020", "T037", "T046", "T047", "T048", "T049", "T050", "T190", "T191"),
    )
    most: int = option("Largest number of concepts to compare: the most frequent ones.", 1000, ge=2, le=8192)
    after_days: int = option(
        "Longest time, in days, from one concept to another that is treated as following it.", 730, ge=1
    )
    fewest_patients: int = option("Pairs that fewer patients have are flagged as suppressed, without values.", 10, ge=1)
    best: int = option("Number of partners listed for each concept and measure.", 100, ge=1)
    edges_per_concept: int = option(
        "Most edges of each graph, where graphs are compared, as a multiple of the number of concepts. All pairs that pass the"
        " test are listed, however many.",
        5,
        ge=1,
    )
    max_q: float = option(
        "False discovery rate for the test whether two concepts occur together more often than by chance among similar patients.",
        0.05,
        gt=0,
        lt=1,
    )
    pairs: str = option(
        "CSV file of pairs that are always listed: columns `first` and `second`, each a concept or a code.",
        "",
        role="list",
    )
    known: str = option(
        "CSV file of known pairs, with the same columns, such as a table from Open Targets or a terminology. Every graph is"
        " compared with these pairs.",
        "",
        role="list",
    )
    names: bool = option(
        "Whether similarity of names is compared as a separate graph (TF-IDF of pieces of three to five letters). Similarity in"
        " the ontology is compared whenever concepts.ontology is set.",
        False,
        later=True,
    )
    sentence_encoder: str = option(
        "Folder of a sentence encoder in the format of transformers (config.json, model.safetensors, tokenizer.json), such as one"
        " trained on names of concepts. The similarity of names that this encoder finds is compared as a further graph. Nothing"
        " is downloaded.",
        "",
        role="input",
        later=True,
    )
    scores: tuple[ScoresSettings, ...] = option(
        "Scores from other sources, one [[relations.scores]] table each, such as the answers of a language model. Each is"
        " compared as a separate graph.",
        (),
    )
