"""CPRD Aurum: tab-separated files of observations, drug issues, patients and practices, from the extraction tool.

Source: CPRD Aurum Data Specification. Dates are dd/mm/yyyy; ids have up to 19 digits; births are given as a year, for
children also with the month. `medcodeid` and `prodcodeid` are CPRD's own codes, translated by its dictionaries under
[events.dictionaries].
"""

from ehr_pipeline.records.kinds import EventKind, Kinds, PatientKind
from ehr_pipeline.records.layouts import EventColumns, EventFiles, LinkedFiles, PatientColumns, PatientFiles
from ehr_pipeline.typed_settings import option, settings

WHERE = "records.cprd_aurum"
SEX = {"1": "M", "2": "F", "0": "", "3": "", "4": ""}  # 0, 3, 4: not entered, indeterminate, unknown
DATES = ("%d/%m/%Y", "iso")


@settings
class CprdAurum:
    """CPRD Aurum. The medical and the product dictionary are set in [events.dictionaries], as `medcodeid` and `prodcodeid`. A
    patient is observed from the start of registration until registration ends, the practice's last collection, or death."""

    observations: str = option(
        "Glob of the Observation files; empty: they are not read.", "*[Ee]xtract_[Oo]bservation*.txt*"
    )
    drug_issues: str = option(
        "Glob of the DrugIssue files; empty: they are not read.", "*[Ee]xtract_[Dd]rug[Ii]ssue*.txt*"
    )
    patients: str = option("Glob of the Patient files.", "*[Ee]xtract_[Pp]atient*.txt*")
    practices: str = option(
        "Glob of the Practice files, which give region and last collection; they may be missing.",
        "*[Ee]xtract_[Pp]ractice*.txt*",
    )
    attributes: dict[str, str] = option(
        "Columns of the Patient file to keep: name in the patient data set = column.", {"practice": "pracid"}
    )
    practice_attributes: dict[str, str] = option(
        "Columns of the Practice file to keep: name in the patient data set = column.", {"region": "region"}
    )
    sex_values: dict[str, str] = option("Meanings of further numbers of the sex, such as {9 = ''}.", {}, later=True)

    def kinds(self) -> Kinds:
        """Return the kinds of files of an extract."""
        events = [
            _events(name, files, EventColumns(patient="patid", date=date, code=code, entered=entered))
            for name, files, date, code, entered in (
                ("observations", self.observations, "obsdate", "medcodeid", "enterdate"),
                ("drug_issues", self.drug_issues, "issuedate", "prodcodeid", ""),
            )
            if files
        ]
        practice = LinkedFiles(
            files=self.practices,
            key="pracid",
            patient_key="pracid",
            attributes=self.practice_attributes,
            observation_ends=("lcd",),
            date_formats=DATES,
        )
        people = PatientFiles(
            files=self.patients,
            columns=PatientColumns(
                patient="patid",
                birth_year="yob",
                birth_month="mob",
                sex="gender",
                observation_start="regstartdate",
                observation_ends=("regenddate",),
                death="cprd_ddate",
            ),
            sex_values=SEX | self.sex_values,
            attributes=self.attributes,
            linked=(practice,) if self.practices else (),
            date_formats=DATES,
        )
        patients = PatientKind(where=f"{WHERE}.patients", files=people, linked_where=f"{WHERE}.practices")
        return Kinds(tuple(events), (patients,))


def _events(name: str, files: str, columns: EventColumns) -> EventKind:
    layout = EventFiles(files=files, columns=columns, code_system=columns.code, date_formats=DATES)
    return EventKind(where=f"{WHERE}.{name}", files=layout, required=False)
