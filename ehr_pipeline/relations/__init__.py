"""Which concepts go together: counted in records, read from the encoder, and compared as graphs."""

from ehr_pipeline.disclosure.kinds import Declared, EventsOf, People, Things
from ehr_pipeline.tables.asset_names import CONCEPT_RELATIONS

COUNTED: dict[str, Declared] = {CONCEPT_RELATIONS: {"patients": People, "visits": EventsOf("patients"), "*": Things}}
