"""Codes of MEDS data sets that describe the subject, as data sets write them."""

from ehr_pipeline.records.sources.meds_codes import proposed

EVENTS = {"SNOMED//9014002", "LOINC//8331-1//high", "ICD10CM//E11.9", "HOSPITAL_ADMISSION//URGENT"}


def test_sexes_births_and_attributes_are_found() -> None:
    static = {"SEX_AT_BIRTH//F", "SEX_AT_BIRTH//M", "RACE//Black/African", "RACE//white", "EYE_COLOUR//blue"}
    found = proposed(EVENTS | static | {"MEDS_BIRTH", "MEDS_DEATH"}, static)
    assert found.sex_prefixes == ("SEX_AT_BIRTH//",)
    assert found.attributes == {"race": "RACE//"}, "one eye colour tells nobody apart"
    assert (found.birth_codes, found.death_codes) == ((), ()), "the usual codes need no setting"


def test_the_site_is_the_practice_however_many_there_are() -> None:
    static = {f"HOSPITAL//{number}" for number in range(100)} | {
        "RACE//a",
        "RACE//b",
        "TUMOUR_SITE//lung",
        "TUMOUR_SITE//skin",
    }
    assert proposed(EVENTS | static, static).attributes == {
        "practice": "HOSPITAL//",
        "race": "RACE//",
        "tumour_site": "TUMOUR_SITE//",
    }


def test_older_exports_are_understood() -> None:
    """As EHRSHOT's: births and deaths under a SNOMED code, single slashes, concepts of OMOP, times where nothing has one."""
    codes = {
        "SNOMED/3950001",
        "SNOMED/419620001",
        "Gender/8532",
        "Gender/8507",
        "Race/5",
        "Race/3",
        "Ethnicity/Hispanic",
    }
    found = proposed(EVENTS | codes, ())
    assert (found.birth_codes, found.death_codes) == (("SNOMED/3950001",), ("SNOMED/419620001",))
    assert found.sex_prefixes == ("Gender/",)
    assert found.attributes == {"race": "Race/"}
    assert proposed({"DEMO//SEX//F", "DEMO//SEX//M"}, ()).sex_prefixes == ("DEMO//SEX//",)


def test_what_is_no_sex_is_not_taken_for_one() -> None:
    assert proposed({"SEXUAL_ORIENTATION//straight", "SEXUAL_ORIENTATION//unknown"}, ()).sex_prefixes == ()
    assert proposed({"SEX//unknown"}, ()).sex_prefixes == (), "nobody's sex is known"
    assert proposed({"SPECIMEN_SEX"}, ()).sex_prefixes == ()
    assert proposed({f"VISIT//{number}" for number in range(50)}, ()).attributes == {}
