"""Settings of the concept check."""

from ehr_pipeline.typed_settings import option, settings


@settings
class ConceptsSettings:
    """The sanity check on concept vectors."""

    concepts_of_interest: str = option(
        "Concept list (CSV) of diseases whose neighbours are shown. Empty: the most frequent concepts.", "", role="list"
    )
    ontology: tuple[str, ...] = option(
        "Disease ontology, to see whether concepts whose vectors lie close belong to one group: relationship files of SNOMED RF2"
        " (Snapshot), or files in OBO format (*.obo), such as the Disease Ontology's. Empty: not measured.",
        (),
        role="input",
    )
    groups_below: tuple[str, ...] = option(
        "Nodes whose children are the groups: 'disorder of body system' of SNOMED, 'disease of anatomical entity' of the Disease"
        " Ontology.",
        ("362965005", "DOID:7"),
    )
    neighbours: int = option("Nearest neighbours by cosine. Source: 10 in the published run.", 10, ge=1)
