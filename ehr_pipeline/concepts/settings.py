"""Settings of the check on concept vectors."""

from ehr_pipeline.typed_settings import option, settings


@settings
class ConceptsSettings:
    """The check that concept vectors are plausible."""

    concepts_of_interest: str = option(
        "Concept list (CSV) of diseases whose neighbours are shown. Empty: the concepts that the most patients have.",
        "",
        role="list",
    )
    ontology: tuple[str, ...] = option(
        "Disease ontology, used to measure whether concepts with similar vectors belong to the same group:"
        " relationship files of SNOMED RF2 (Snapshot), or files in OBO format (*.obo), such as the Disease Ontology."
        " Empty: not measured.",
        (),
        role="input",
    )
    groups_below: tuple[str, ...] = option(
        "Nodes whose children are the groups: 'disorder of body system' in SNOMED, 'disease of anatomical entity' in the"
        " Disease Ontology.",
        ("362965005", "DOID:7"),
    )
    neighbours: int = option("Number of nearest neighbours, by cosine. Source: 10 in the published run.", 10, ge=1)
