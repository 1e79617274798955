"""Rebuild data/demo/codes.csv.gz, data/lists/*.csv and data/tasks/lists/*.csv from the open sources that data/README.md names.

Usage: python data/build.py SOURCES

SOURCES holds the folders nhs, umls_like and codelists. The result is deterministic. The lists are a starting point made by
written rules; clinicians edit the CSV files, not this script.
"""

import argparse
import csv
import gzip
import io
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
MOST_USED = 16_000  # codes: 99.5 % of the events of English general practice in 2018-19
FIRST_INVENTED_CUI = 9_000_000  # the range C9… is not used by the UMLS

ADMINISTRATIVE = re.compile(
    r"did not attend|encounter|seen (in|by|at)|seen .* clinic|letter|e-mail|mail |telephone|text message|appointment|referr|refer for"
    r"|discharg|admission|consent|recall|invitation|registration|registered|medication review|review of medication"
    r"|notes|record|summary|document|report (received|sent|issued)|form |certificate|prescription collected|medication requested"
    r"|patient informed|patient advised|advice|patient identity|chaperone|interpreter|spoken language|home visit"
    r"|sample (taken|sent)|test (requested|due)|administrative|administration procedure|follow-up (arranged|status)|discussi"
    r"|discussed|reassurance|chat to patient|understands|consultation|patient review|first letter|second letter|third letter"
    r"|questionnaire completed|monitoring call|exception|patient asked|informing|due for|needs .* immunization|medically fit"
    r"|information (given|provided|leaflet)|patient given|declined|refused|care plan|protocol entry|status unknown|registry",
    re.IGNORECASE,
)
EDUCATION = re.compile(r"education|advised about|teaching|counsel", re.IGNORECASE)
LABORATORY = re.compile(
    r"\b(serum|plasma|urine|urinalysis|blood (test|cell|film|glucose|group|count)|haemoglobin|hemoglobin|platelet|creatinine|cholesterol"
    r"|triglyceride|glucose|ratio|count|concentration|level|cytology|smear|culture|antibod\w+|antigen|measurement|enzyme|laboratory"
    r"|microscopy|sodium|potassium|calcium|albumin|bilirubin|protein|ferritin|thyroid stimulating|specimen)\b",
    re.IGNORECASE,
)
DIAGNOSTIC = re.compile(
    r"x-ray|radio|ultraso|echo|electrocardio|imaging|tomograph|scan|examination|screening|monitoring|check|spirometry|endoscop|biopsy|assessment|test",
    re.IGNORECASE,
)
SYMPTOM = re.compile(
    r"\b(pain|ache|\w+ache|\w*algia|itch\w*|pruritus|rash|cough|dyspnea|breathless\w*|vomiting|nausea|diarrhea|constipation|dizz\w+|tired\w*|fatigue"
    r"|fever|swelling|swollen|bleeding|sore|insomnia|sleep\w*|anxi\w+|mood|stress|weakness|palpitation\w*|numbness|wheez\w+|tremor|vertigo"
    r"|symptom\w*|bloating|dysphagia|incontinence|blister\w*|dry skin|scaly|lump|discharge|otalgia|dysuria|heartburn)\b",
    re.IGNORECASE,
)
TYPE_OF_TAG = {  # semantic types from the tag of the fully specified name: approximate, for the demo only
    "disorder": "T047", "finding": "T033", "situation": "T033", "observable entity": "T201", "procedure": "T061",
    "regime/therapy": "T061", "record artifact": "T170", "qualifier value": "T080", "navigational concept": "T170",
    "occupation": "T097", "event": "T051", "ethnic group": "T098", "racial group": "T098", "specimen": "T031",
    "attribute": "T080", "body structure": "T023", "person": "T098", "morphologic abnormality": "T046", "substance": "T121",
    "product": "T121", "environment": "T082", "assessment scale": "T170", "staging scale": "T170", "physical object": "T073",
    "religion/philosophy": "T078", "organism": "T007", "geographic location": "T083", "social concept": "T078",
    "administrative concept": "T170", "cell": "T025", "cell structure": "T026", "physical force": "T070",
}  # fmt: skip

# The five diseases: what the name must hold, and what it must not. Joint disease is left out of psoriasis: a patient enters
# the cohort with skin disease, and arthropathy is one of the things to find out about them.
DISEASES = {
    "psoriasis": (r"psoria(sis|tic)", r"psoriasiform|arthr|arthro|spondyl|dactylitis|iritis|para-?psoriasis|family history|no history|screening|clinic|index|score|severity|assessment|education|referral|review|management|monitoring|resolved|area|treatment|at risk|suspected|epidemiology|nurse|annual|questionnaire|pityriasis"),
    "atopic_dermatitis": (r"atopic (dermatitis|eczema|neurodermatitis)|besnier|eczema herpeticum|infantile eczema|flexural eczema|constitutional dermatitis", r"family history|no history|clinic|index|score|severity|education|referral|review|management|resolved|suspected|questionnaire|nurse|assessment"),
    "hidradenitis_suppurativa": (r"hidradenitis suppurativa|acne inversa|suppurative hidradenitis", r"family history|clinic|score|resolved"),
    "bullous_pemphigoid": (r"pemphigoid", r"mucous membrane|cicatricial|lichen planus|gestation|family history|clinic|score|resolved"),
    "prurigo_nodularis": (r"prurigo nodularis|nodular prurigo|hyde'?s? disease|picker'?s nodule", r"family history|clinic|score|resolved"),
}  # fmt: skip
CODE_LISTS = {
    "psoriasis": "nhsd-primary-care-domain-refsets-adult-and-child-psoriasis-codes.csv",
    "atopic_dermatitis": "nhsd-primary-care-domain-refsets-atopic-dermatitis-codes.csv",
}

# Concept lists of the tasks: OpenSAFELY's (all of their codes), and by names of the NHS file where there is none.
REFSET = "nhsd-primary-care-domain-refsets-"
TASK_LISTS = {
    "asthma": "ast_cod", "copd": "copd_cod", "coronary_heart_disease": "chd_cod", "stroke": "strk_cod", "heart_failure": "hf_cod",
    "type_2_diabetes": "dmtype2audit_cod", "depression": "depr_cod", "dementia": "dem_cod", "epilepsy": "epil_cod",
    "osteoporosis": "osteo_cod", "polymyalgia_rheumatica": "polymyalgia-rheumatica-pmr-codes",
    "rheumatoid_arthritis": "rheumatoid-arthritis-disorders", "coeliac_disease": "coeliac-disease-codes",
    "crohns_disease": "crohns-disease-codes", "psoriatic_arthritis": "adult-and-child-psoriasis-codes",
}  # fmt: skip
PART_OF_LIST = {"psoriatic_arthritis": re.compile(r"arthr|spondyl|dactylitis", re.IGNORECASE)}
BY_NAME = {  # what the name must hold, what it must not, and the tags that the code may have
    "death": (r"^(patient died|died in|death$|dead on arrival|sudden death|found dead|patient died at home|unattended death|dead$)", r"infant|family|foetal|fetal|neonat|preferred|place", ("finding", "event", "disorder", "situation")),
    "infection": (r"respiratory (tract )?infection|pneumonia|cellulitis|tonsillitis|otitis media|acute sinusitis|acute bronchitis|impetigo|urinary tract infection|\bcystitis|pyelonephritis|sepsis|erysipelas|abscess|infectious gastroenteritis|infection of skin|wound infection", r"chronic|interstitial|suppurative otitis media with|history|risk|suspected|screen|aspiration|hypersensitivity|pneumonia vacc|radiation|follicular|sterile|eosinophilic|trigone|organizing", ("disorder",)),
    "anticoagulant": (r"(warfarin|anticoagula\w+)( drug)? (therapy|prophylaxis|monitoring|treatment plan|daily dose|dose|assessment)|follow-up warfarin|initial warfarin|(warfarin|anticoag\w+) therapy started|ratio derived warfarin dose", r"not indicated|declined|contraindicated|not tolerated|stop|history|duration|education|information|bleeding|offer|discussion|referral|home visit|enhanced service|record|requires|seen in|allerg|adverse|status", ()),
    "oral_diabetes_treatment": (r"diabetic on oral treatment|oral hypoglyc|metformin", r"insulin|adverse|allerg|overdose|poison|declined|contraind|not tolerated|not indicated|level", ()),
    "insulin": (r"diabetic on insulin|insulin treated|insulin treatment initiated|conversion to insulin|subcutaneous injection of insulin|insulin dose|insulin therapy", r"adverse|allerg|overdose|site|education|declined|type 1|passport|hypoglyc|history", ()),
}  # fmt: skip

# Comorbidities of skin immune disease that a clinician would look for, whatever their rank in general practice.
OF_INTEREST = re.compile(
    r"\b(pilonidal|crohn|ulcerative colitis|uveitis|iritis|spondyl\w+|arthritis|arthropathy|urticaria|angioedema|vitiligo|alopecia"
    r"|lichen planus|lichen simplex|rosacea|acne|folliculitis|cellulitis|impetigo|conjunctivitis|rhinitis|hay ?fever|anaphyla\w+|food allergy|eosinophil\w+"
    r"|nonalcoholic|fatty|steato\w+|obesity|parkinson|dementia|alzheimer|stroke|cerebrovascular|epilepsy|multiple sclerosis"
    r"|pruritus|itching|dermatitis|eczema|prurigo|pemphig\w+|psoria\w+|hidradenitis|keratosis|scabies|tinea|smoker)\b",
    re.IGNORECASE,
)


@dataclass
class Code:
    """One SNOMED code with what the open sources say of it."""

    identifier: str
    name: str = ""
    usage: int = 0
    active: bool = True
    concepts: list[tuple[str, str, str]] = field(
        default_factory=list
    )  # (CUI, semantic type, source), the preferred first

    @property
    def tag(self) -> str:
        match = re.search(r"\(([^()]+)\)\s*$", self.name)
        return match[1] if match else ""

    @property
    def term(self) -> str:
        return re.sub(r"\s*\([^()]+\)\s*$", "", self.name)

    @property
    def international(self) -> bool:
        return self.identifier[-3:-1] == "00"


def read_codes(sources: Path) -> dict[str, Code]:
    """Every code of the NHS usage file and of the open map."""
    codes: dict[str, Code] = {}
    with gzip.open(sources / "nhs/SNOMED_code_usage_2018-19.txt.gz", "rt", encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            usage = 2 if row["Usage"] == "*" else int(row["Usage"])
            active = row["Active_at_End"].strip() == "1"
            codes[row["SNOMED_Concept_ID"]] = Code(
                row["SNOMED_Concept_ID"], " ".join(row["Description"].split()), usage, active
            )
    with gzip.open(sources / "umls_like/snomed_to_cui_open.tsv.gz", "rt", encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            code = codes.setdefault(row["sctid"], Code(row["sctid"], row["nhs_fsn"] or row["label"]))
            place = 0 if row["preferred"] == "1" else len(code.concepts)
            code.concepts.insert(place, (row["cui"], row["tui"], row["sources"]))
    return codes


def semantic_type(code: Code) -> str:
    """A plausible semantic type from the name: approximate, for the demo's terminology only."""
    name, tag = code.term, code.tag
    if tag == "observable entity":
        return "T034" if LABORATORY.search(name) else "T201"
    if tag in ("procedure", "regime/therapy"):
        if EDUCATION.search(name):
            return "T065"
        if ADMINISTRATIVE.search(name):
            return "T058"
        if LABORATORY.search(name):
            return "T059"
        return "T060" if DIAGNOSTIC.search(name) else "T061"
    if tag in ("finding", "situation"):
        if LABORATORY.search(name):
            return "T034"
        return "T184" if SYMPTOM.search(name) and not ADMINISTRATIVE.search(name) else "T033"
    return TYPE_OF_TAG.get(tag, "")


def invent_concepts(codes: list[Code]) -> None:
    """Give every international code without an open CUI an invented one, and every concept a type."""
    number = FIRST_INVENTED_CUI
    for code in codes:
        if not code.concepts and code.international:
            code.concepts = [(f"C{number}", semantic_type(code), "INVENTED")]
            number += 1
        # The open map's types are approximate themselves; a laboratory or symptom name is the better guide where it has none.
        code.concepts = [(cui, tui or semantic_type(code), source) for cui, tui, source in code.concepts]


def disease_list(name: str, codes: dict[str, Code], sources: Path) -> list[tuple[str, str, str, str]]:
    """Codes of one disease with subtypes and retired codes, most used first."""
    wanted, unwanted = (re.compile(pattern, re.IGNORECASE) for pattern in DISEASES[name])
    origin: dict[str, str] = {}
    names: dict[str, str] = {}
    if name in CODE_LISTS:
        with (sources / "codelists" / CODE_LISTS[name]).open(encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                if not unwanted.search(row["term"]):
                    origin[row["code"]], names[row["code"]] = "OpenSAFELY", row["term"]
    for code in codes.values():
        text = code.term
        if code.tag in ("", "disorder") and wanted.search(text) and not unwanted.search(text):
            retired = "" if code.active else "; retired"
            origin.setdefault(code.identifier, ("NHS usage" if code.usage else "open map") + retired)
            names.setdefault(code.identifier, text)
    ordered = sorted(origin, key=lambda c: (-codes[c].usage if c in codes else 0, c))
    return [(c, public_cui(codes.get(c)), names[c], origin[c]) for c in ordered]


def public_cui(code: Code | None) -> str:
    """The CUI of the open map; invented ones never enter a list."""
    return next((cui for cui, _, source in code.concepts if source != "INVENTED"), "") if code else ""


def by_concept(codes: dict[str, Code]) -> dict[str, list[Code]]:
    """Codes of each open concept, most used first."""
    grouped: dict[str, list[Code]] = defaultdict(list)
    for code in codes.values():
        if public_cui(code) and code.usage:
            grouped[public_cui(code)].append(code)
    return {cui: sorted(group, key=lambda c: (-c.usage, c.identifier)) for cui, group in grouped.items()}


def of_interest_lists(codes: dict[str, Code]) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """About 150 diseases for the neighbour check, and about 250 symptoms and diagnoses for selective pooling."""
    grouped = by_concept(codes)
    ranked = sorted(grouped, key=lambda cui: (-sum(c.usage for c in grouped[cui]), cui))

    def types(cui: str) -> set[str]:
        return {tui for code in grouped[cui] for own, tui, _ in code.concepts if own == cui}

    def rows(cuis: list[str], why: str) -> list[tuple[str, ...]]:
        return [(grouped[cui][0].identifier, cui, grouped[cui][0].term, why) for cui in cuis]

    clinical = [
        cui
        for cui in ranked
        if grouped[cui][0].tag in ("disorder", "finding") and not ADMINISTRATIVE.search(grouped[cui][0].term)
    ]
    diseases = [
        cui for cui in clinical if grouped[cui][0].tag == "disorder" and types(cui) & {"T047", "T048", "T191", "T046"}
    ]
    symptoms = [cui for cui in clinical if types(cui) & {"T184"}]
    related = [cui for cui in clinical if OF_INTEREST.search(grouped[cui][0].term)]
    five = [cui for name in DISEASES for cui in [grouped_cui(name, codes)]]
    neighbour_check = list(dict.fromkeys(five + diseases))[:150]
    pooling = list(dict.fromkeys(five + related[:120] + diseases[:140] + symptoms[:45]))[:250]
    return rows(neighbour_check, "open map; most used diseases"), rows(
        pooling, "open map; most used or related to skin immune disease"
    )


def grouped_cui(name: str, codes: dict[str, Code]) -> str:
    """The concept of the disease as such."""
    heads = {
        "psoriasis": "9014002",
        "atopic_dermatitis": "24079001",
        "hidradenitis_suppurativa": "59393003",
        "bullous_pemphigoid": "77090002",
        "prurigo_nodularis": "63501000",
    }
    return public_cui(codes[heads[name]])


def administrative_list(codes: list[Code]) -> list[tuple[str, ...]]:
    """Most used codes about how care is organised, by their names."""
    tags = (
        "finding",
        "situation",
        "procedure",
        "record artifact",
        "navigational concept",
        "qualifier value",
        "regime/therapy",
    )
    found = [
        c
        for c in codes
        if c.tag in tags
        and ADMINISTRATIVE.search(c.term)
        and not SYMPTOM.search(c.term)
        and not LABORATORY.search(c.term)
    ]
    return [(c.identifier, public_cui(c), c.term, "NHS usage; by its name") for c in found[:600]]


def task_list(name: str, codes: dict[str, Code], sources: Path) -> list[tuple[str, ...]]:
    """Codes of a list for tasks: those of OpenSAFELY, or by name; most used first."""
    rows = []
    if name in TASK_LISTS:
        with (sources / "codelists" / f"{REFSET}{TASK_LISTS[name]}.csv").open(encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                if name not in PART_OF_LIST or PART_OF_LIST[name].search(row["term"]):
                    rows.append((row["code"], public_cui(codes.get(row["code"])), row["term"], "OpenSAFELY"))
    else:
        wanted, unwanted, tags = BY_NAME[name]
        for code in codes.values():
            right = re.search(wanted, code.term, re.IGNORECASE) and not re.search(unwanted, code.term, re.IGNORECASE)
            if right and code.usage and (not tags or code.tag in tags):
                rows.append((code.identifier, public_cui(code), code.term, "NHS usage; by its name"))
    return sorted(rows, key=lambda row: (-codes[row[0]].usage if row[0] in codes else 0, row[0]))


def write_list(name: str, rows: list[tuple[str, ...]], folder: str = "lists") -> None:
    """Write one concept list."""
    with (HERE / folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("code", "cui", "name", "source"))
        writer.writerows(rows)
    print(f"{folder}/{name}.csv: {len(rows)} rows")


def main() -> None:
    """Read the sources, write the lists and the demo's code table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=Path)
    sources = parser.parse_args().sources
    codes = read_codes(sources)
    ranked = sorted((c for c in codes.values() if c.usage), key=lambda c: (-c.usage, c.identifier))
    listed: set[str] = set()
    for name in DISEASES:
        rows = disease_list(name, codes, sources)
        write_list(name, rows)
        listed |= {row[0] for row in rows}
    diseases, pooling = of_interest_lists(codes)
    write_list("diseases_of_interest", diseases)
    write_list("symptoms_and_diagnoses", pooling)
    write_list("administrative", administrative_list(ranked))
    (HERE / "tasks" / "lists").mkdir(parents=True, exist_ok=True)
    for name in (*TASK_LISTS, *BY_NAME):
        write_list(name, task_list(name, codes, sources), "tasks/lists")

    kept = ranked[:MOST_USED] + [c for c in ranked[MOST_USED:] if c.identifier in listed or public_cui(c)]
    invent_concepts(kept)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("code", "name", "usage", "active", "cui", "tui", "source"))
    for code in sorted(kept, key=lambda c: (-c.usage, c.identifier)):
        for cui, tui, source in code.concepts or [("", "", "")]:
            writer.writerow((code.identifier, code.name, code.usage, int(code.active), cui, tui, source))
    with (
        (HERE / "demo" / "codes.csv.gz").open("wb") as file,
        gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as stream,
    ):
        stream.write(text.getvalue().encode())
    share = sum(c.usage for c in kept) / sum(c.usage for c in ranked)
    size = (HERE / "demo" / "codes.csv.gz").stat().st_size
    print(f"demo/codes.csv.gz: {len(kept)} codes, {share:.1%} of events, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
