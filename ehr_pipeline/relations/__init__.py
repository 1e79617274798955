"""Find which concepts occur together, by counting in records and from the encoder, and compare the results as graphs."""

from ehr_pipeline.disclosure.kinds import Declared, EventsOf, People, Plain
from ehr_pipeline.tables.asset_names import CONCEPT_RELATIONS

COUNTED: dict[str, Declared] = {CONCEPT_RELATIONS: {"patients": People, "visits": EventsOf("patients"), "*": Plain}}
