"""Settings of the relations of concepts."""

from ehr_pipeline.typed_settings import option, settings


@settings
class ScoresSettings:
    """Scores of pairs from another source."""

    name: str = option("What they are called.")
    file: str = option(
        "CSV file with the columns `first`, `second` (each a concept or a code) and `score`; larger is more related.",
        role="list",
    )


@settings
class RelationsSettings:
    """Which concepts are compared, and how."""

    concepts: str = option(
        "Concept list (CSV) of the diseases whose relations are looked for. Empty: the most frequent concepts of `types`.",
        "",
        role="list",
    )
    types: tuple[str, ...] = option(
        "Semantic types (UMLS) of the concepts that are compared where no list names them: disorders. Codes without a type, as in"
        " a study without the UMLS, are compared too.",
        ("T019", "T020", "T037", "T046", "T047", "T048", "T049", "T050", "T190", "T191"),
    )
    most: int = option("Number of concepts compared at most, the most frequent ones.", 1000, ge=2, le=8192)
    after_days: int = option(
        "How long after a concept another one may follow to count as coming after it, in days.", 730, ge=1
    )
    fewest_patients: int = option(
        "Pairs that fewer patients have together are flagged as suppressed, without values.", 10, ge=1
    )
    best: int = option("Number of partners listed for each concept and measure.", 100, ge=1)
    edges_per_concept: int = option("Edges of each graph, as a multiple of the number of concepts.", 5, ge=1)
    max_q: float = option(
        "False discovery rate up to which patients alike have two concepts together more often than by chance.",
        0.05,
        gt=0,
        lt=1,
    )
    pairs: str = option(
        "CSV file of pairs that are listed in any case: columns `first` and `second`, each a concept or a code.",
        "",
        role="list",
    )
    known: str = option(
        "CSV file of pairs known from elsewhere, in the same columns, with which every graph is compared, such as a table of Open"
        " Targets or of a terminology.",
        "",
        role="list",
    )
    names: bool = option(
        "Compare how alike names are as a graph of its own: TF-IDF of their pieces of three to five letters. (Nearness in the"
        " ontology of concepts.ontology is one wherever that is named.)",
        False,
        later=True,
    )
    sentence_encoder: str = option(
        "Folder of a sentence encoder in the format of transformers (config.json, model.safetensors, tokenizer.json), such as one"
        " that was trained on names of concepts: how alike it finds names is a graph too. Nothing is fetched.",
        "",
        role="input",
        later=True,
    )
    scores: tuple[ScoresSettings, ...] = option(
        "Scores made elsewhere, one [[relations.scores]] table each. They are compared as graphs of their own: for example the"
        " answers of a language model.",
        (),
    )
