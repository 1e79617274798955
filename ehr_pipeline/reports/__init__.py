"""The report for clinicians: one HTML page with the concepts that mark each cluster, pictures and the bias audit."""

from ehr_pipeline.disclosure.kinds import Declared, People, Plain
from ehr_pipeline.tables.asset_names import CLUSTER_REPORTS

PAGE, ENRICHMENT, FIGURES, TABLE_1 = "report.html", "enrichment.csv", "figures", "table_1.csv"

COUNTED: dict[str, Declared] = {
    CLUSTER_REPORTS: {"clusters": Plain, "concepts*": Plain, "rows_in": None, "kept": None, "*": People}
}
