"""Check the settings and the inputs that they name before any long work starts, and report all problems at once."""

import datetime
import os
from collections.abc import Iterator
from pathlib import Path

from ehr_pipeline.checks import lists, withdrawn_patients
from ehr_pipeline.clusters import planted
from ehr_pipeline.concepts import ontology
from ehr_pipeline.disclosure.governance import refuse_if_expired
from ehr_pipeline.embeddings.settings import VectorSettings
from ehr_pipeline.encoder import shape_check
from ehr_pipeline.encoder.settings import BIRTH_DECADE
from ehr_pipeline.engines import engine_for
from ehr_pipeline.errors import UserError
from ehr_pipeline.events import names as names_of_codes
from ehr_pipeline.events.translate import file_setting, read_dictionary
from ehr_pipeline.patients import derived_attributes, preview, training_patients
from ehr_pipeline.patients.settings import PUBLIC_KEY
from ehr_pipeline.planning import births, differing_rows, enough_data, extracts, guess_format, known_layouts
from ehr_pipeline.planning.findings import Preflight
from ehr_pipeline.records import catalog, extract_files, files, layouts, withdrawals
from ehr_pipeline.records.build import latest_date
from ehr_pipeline.records.values import called_practice
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.store import secret_key
from ehr_pipeline.store.file_listing import links_outside, walk
from ehr_pipeline.study.dagster_home import refuse_network_disk
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.schemas import DATED
from ehr_pipeline.tasks import aces, label_file, study_rules
from ehr_pipeline.tasks.settings import Task
from ehr_pipeline.terminology import code_lists, obo, omop, reading, rf2, rrf

WITHOUT = {
    rrf.MRCONSO: "no SNOMED code is mapped to the UMLS",
    rrf.MRSTY: "concepts have no semantic types, so none is dropped or pooled by type",
}
"""The consequence of a missing file, by the columns of the file."""


def inspect(study: Study) -> Preflight:
    """Check every input that the settings name, without reading large files to the end."""
    findings = Preflight(below=study.reports.suppress_below)
    extracts.look_at_all(study, findings)
    _terminology(study, findings)
    _lists(study, findings)
    _transfer(study, findings)
    _consistency(study, findings)
    _tasks(study, findings)
    _store(study, findings)
    _keys(study, findings)
    births.look(study, findings)
    enough_data.look(study, findings)
    differing_rows.look(study, findings)
    findings.look(_acceptable, study, findings)
    findings.look(engine_for(study.launcher, Path(study.study.store)).check)
    findings.look(refuse_if_expired, study.governance)
    findings.look(refuse_network_disk)
    for texts in (findings.problems, findings.facts):  # a file of several kinds would be reported several times
        texts[:] = dict.fromkeys(texts)
    return findings


def _acceptable(study: Study, findings: Preflight) -> None:
    """Report whether the newest extract of CPRD contains patients who are not acceptable for research."""
    if findings.problems or study.records.source != "cprd_aurum":
        return
    landing = Path(study.records.landing)
    for name in catalog.extracts_in(landing)[-1:]:
        tree = extract_files.tree_of(landing / name, study.records)
        people = [guess_format.sniff(path) for kind in study.records.kinds.patients for path in files.find(tree, kind)]
        if known_layouts.some_not_acceptable(people):
            findings.facts.append(f"extract {name}: {known_layouts.NOT_ACCEPTABLE}")


def _terminology(study: Study, findings: Preflight) -> None:
    for path, columns in ((study.events.mrconso, rrf.MRCONSO), (study.vocabulary.mrsty, rrf.MRSTY)):
        if not path:
            findings.facts.append(f"{rrf.SETTINGS[columns]} is not set: {WITHOUT[columns]}")
        elif Path(path).is_file() and not Path(path).stat().st_size and _of_other_systems(study):
            findings.facts.append(f"{path} ({rrf.SETTINGS[columns]}) is empty: {WITHOUT[columns]}")
        else:
            findings.look(_umls, Path(path), columns)
    if study.events.mrconso and not study.vocabulary.mrsty:
        findings.problems.append(
            "vocabulary.mrsty is not set, but events.mrconso is. Set it to MRSTY.RRF of the same release, which contains the"
            " semantic types of UMLS concepts."
        )
    if study.events.mrsab:
        findings.look(rrf.source_version, Path(study.events.mrsab), study.events.source)
    for table in ("dictionaries", "migrations"):
        for name, dictionary in getattr(study.events, table).items():
            findings.look(read_dictionary, dictionary, file_setting(name, table))
    if study.events.omop_vocabulary:
        findings.look(omop.check_columns, folder := Path(study.events.omop_vocabulary))
        findings.facts += findings.look(lambda: links_outside(walk(folder, deep=False), folder, omop.SETTING)) or []
    _names(study, findings)
    for where, paths, wanted in (
        ("events.descriptions", study.events.descriptions, rf2.DESCRIPTION),
        ("events.associations", study.events.associations, rf2.ASSOCIATION),
        ("events.relationships", study.events.relationships, rf2.RELATIONSHIP),
    ):
        for name in paths:
            if findings.look(rf2.scan, Path(name), wanted, where) is not None:
                findings.look(rf2.refuse_cut, Path(name), where, ends_only=True)
    for path in study.concepts.ontology:
        if ontology.is_obo(path):
            findings.look(obo.read, Path(path))
        else:
            findings.look(rf2.scan, Path(path), rf2.RELATIONSHIP, obo.SETTING)


def _names(study: Study, findings: Preflight) -> None:
    for table in study.events.names:
        findings.look(names_of_codes.has_names, table)
    if study.records.source == "meds" and not study.events.names:
        metadata = sorted(Path(study.records.landing).glob("*/metadata/codes.parquet"))
        if metadata and names_of_codes.is_names_table(metadata[-1]):
            findings.facts.append(
                f'{metadata[-1]} contains names of codes: to show them, set {names_of_codes.SETTING} = ["{metadata[-1]}"]'
            )


def _of_other_systems(study: Study) -> bool:
    """Return whether the extracts may contain no SNOMED code at all."""
    systems = {kind.files.code_system for kind in study.records.kinds.events}
    return study.records.source == "meds" or not systems & {"", "snomed"}


def _umls(path: Path, columns: tuple[str, ...]) -> None:
    """Check the beginning of a large UMLS file. Raises InputError."""
    rrf.scan(path, columns, ends_only=True)
    reading.check_gzip(path, rrf.SETTINGS[columns])


def _lists(study: Study, findings: Preflight) -> None:
    for name, attribute in study.patients.derived.items():
        findings.look(derived_attributes.read, attribute.codes, derived_attributes.setting(name))
    if study.records.withdrawals:
        withdrawn = findings.look(withdrawals.read, study.records.withdrawals)
        findings.look(withdrawn_patients.list_of_withdrawals, study)
        findings.facts.append(f"withdrawals: {len(withdrawn) if withdrawn is not None else 0:,} patients are listed")
    if study.events.overrides:
        findings.look(code_lists.read_overrides, Path(study.events.overrides))
    problems, warnings, facts = lists.look(study)
    findings.problems += problems
    findings.warnings += warnings
    findings.facts += facts


def _transfer(study: Study, findings: Preflight) -> None:
    """Check the checkpoint of another study, and whether its training patients can be known."""
    if not study.encoder.transfer.checkpoint:
        return
    folder = Path(study.encoder.transfer.checkpoint)
    findings.look(shape_check.look, folder, study.encoder)
    if study.patients.split.leaves_out:
        why = training_patients.cannot_be_checked(folder.parent, secret_key.read(Path(study.study.store)))
        if why:
            findings.warnings.append(
                f"{shape_check.SETTING}: {folder}: {why}. Some of its training patients may be in the test set of this study."
            )


def _systems(study: Study, findings: Preflight) -> None:
    """Report code systems in the extracts for which no mapping table is set: a problem unless unmapped codes are kept."""
    keeps = study.events.unmapped == "keep"
    for kind in study.records.kinds.events:
        system = kind.files.code_system
        if kind.where not in findings.read or system in ("", "snomed", *study.events.dictionaries):
            continue
        if system == omop.CODE_SYSTEM:
            if study.events.omop_vocabulary:
                continue
            problem = (
                "events.omop_vocabulary is not set. It is the folder with CONCEPT.csv and, if you have them,"
                " CONCEPT_RELATIONSHIP.csv and CONCEPT_ANCESTOR.csv, which give the meaning of OMOP's concept ids."
            )
            kept = "Each id is a separate concept, without a name (events.unmapped)."
        else:
            known = ", ".join(study.events.dictionaries) or "none"
            problem = (
                f"{layouts.setting(kind.where, 'code_system')}: the codes belong to {system!r}, but [events.dictionaries] has no"
                f" table of that name (it has: {known})."
            )
            kept = "Each code is a separate concept (events.unmapped)." + (
                "" if study.events.names else " Tables with names of such codes belong under events.names."
            )
        advice = 'Set it, or keep each code as a separate concept (events.unmapped = "keep").'
        (findings.facts if keeps else findings.problems).append(f"{problem} {kept if keeps else advice}")


def _consistency(study: Study, findings: Preflight) -> None:
    """Check settings of different sections that have to fit each other."""
    _systems(study, findings)
    for level, text in preview.notes(study.records, study.patients.split, findings.below):
        getattr(findings, level).append(text)
    habits, usual = study.embeddings.vectors.habits, VectorSettings().habits
    if habits == usual and usual not in study.attributes:
        serves = called_practice(study.attributes)
        findings.facts.append(
            f"patients have no attribute {usual!r} (embeddings.vectors.habits): codes that different values of it use for the"
            " same thing are not joined, and patients are not compared within it"
            + (f". If {serves!r} says who recorded the data, call this attribute {usual!r}" if serves else "")
        )
    audited = study.reports.audited if study.reports.audited != ReportsSettings().audited else ()
    asked = {
        "reports.audited": audited,
        "reports.attribute_types": tuple(study.reports.attribute_types),
        "embeddings.vectors.habits": {habits} - {"", usual, "sex"},
    }
    for setting, names in asked.items():
        if missing := [name for name in names if name not in study.attributes]:
            findings.problems.append(
                f"{setting} contains {', '.join(missing)}, but the patient files have no such attribute"
                f" (records.patients.attributes and patients.derived have: {', '.join(study.attributes) or 'none'}). Correct the"
                " name, or add the attribute."
            )
    findings.problems += _predicted(study)
    if study.vocabulary.min_patients < study.reports.suppress_below:
        findings.facts.append(
            f"vocabulary.min_patients is {study.vocabulary.min_patients}: the model may contain names of concepts that fewer than"
            f" {study.reports.suppress_below} patients have; then it cannot be shared (`export model`)"
        )
    if study.clusters.truth and (problem := planted.problem(Path(study.clusters.truth))):
        findings.problems.append(problem)


def _predicted(study: Study) -> Iterator[str]:
    """Yield problems with the attributes that the encoder is to predict.

    An attribute must be known, must not hold dates and, if there are tasks, must not be derived from codes.
    """
    where = "encoder.metadata.attributes"
    for name in study.encoder.predicted:
        if name in ("sex", BIRTH_DECADE):
            continue
        if name not in study.attributes:
            known = ", ".join(("sex", BIRTH_DECADE, *(each for each in study.attributes if each not in DATED)))
            yield (
                f"{where} contains {name!r}, but the patient files have no such attribute (there are: {known}). Correct the name,"
                " or remove it."
            )
        elif name in DATED or name == study.tasks.death_attribute:
            yield (
                f"{where} contains {name!r}, which is a date. An encoder trained to predict when patients leave or die could not"
                " be tested on that. Remove it."
            )
        elif name in study.patients.derived and study.tasks.any:
            yield (
                f"{where} contains {name!r}, which is derived from codes of the whole record (patients.derived), but tasks test"
                " predictions of later records. Remove it, or remove [tasks]."
            )


def _tasks(study: Study, findings: Preflight) -> None:
    """Check what tasks need: a test set, files that can be read, and an attribute with dates of death."""
    tasks = study.tasks
    if not tasks.any:
        return
    if not study.patients.split.leaves_out:
        findings.problems.append(study_rules.NO_TEST_SET)
    if tasks.death_attribute and tasks.death_attribute not in study.attributes:
        findings.problems.append(
            f"tasks.death_attribute is {tasks.death_attribute!r}, but the patient files have no such attribute (they have:"
            f" {', '.join(study.attributes) or 'none'}). Correct the name, or add the attribute."
        )
    if not study.records_deaths:
        findings.facts.append(
            "tasks: no deaths are known (tasks.death, tasks.death_attribute, columns.death of the patient files), so patients who"
            " died are treated as patients who left"
        )
    fewest = study.patients.min_visits  # landmark number n has n visits up to and including it
    if fewest > 1 and any(task.aces or task.index != "landmark" or task.from_visit < fewest for task in tasks.task):
        findings.facts.append(
            f"patients.min_visits is {fewest}: patients with fewer visits in the whole record get no label, although this is"
            " unknown on the index date. For tasks, set it to 1"
        )
    for task in tasks.task:
        if task.aces:
            findings.look(aces.read, Path(task.aces), task.name, ())
        if task.index_file:
            findings.look(label_file.read, Path(task.index_file))
        if problem := _windows_after_data(study, task):
            findings.warnings.append(problem)
    findings.facts.append(f"tasks: {len(tasks.task)}" + (f", and {tasks.screen} of the screen" if tasks.screen else ""))


def _windows_after_data(study: Study, task: Task) -> str:
    """Return a sentence on index dates whose windows end after the newest extract, so that they give no label; empty if none do."""
    try:
        end = latest_date(max(catalog.extracts_in(Path(study.records.landing))), study.records)
    except (UserError, ValueError):
        return ""  # no extract, or one without a date: reported elsewhere
    days = datetime.timedelta(task.gap_days + task.window_days)
    late = [date for date in task.index_dates if datetime.date.fromisoformat(date) + days > end]
    return (
        f"tasks.task {task.name!r}: the window of {days.days:,} days after {', '.join(late)} ends after the data ({end}), so"
        f" {'these index dates give' if len(late) > 1 else 'this index date gives'} no label. Choose earlier index_dates, or a"
        " smaller window_days."
        if late
        else ""
    )


def _store(study: Study, findings: Preflight) -> None:
    folder = Path(study.study.store)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        findings.problems.append(
            f"{folder} (study.store): {existing} is not a writable folder. Correct the setting, or its permissions."
        )


def _keys(study: Study, findings: Preflight) -> None:
    """Check the key of the store and the key of the split."""
    if problem := findings.look(secret_key.foreign, Path(study.study.store)):
        findings.facts.append(problem)
    if study.patients.split.key == PUBLIC_KEY and not study.clusters.truth:
        findings.facts.append(
            "patients.split.key is the key of the demo, which is public: anyone with the patient ids can find out which patients"
            " are in the test set. In a new study, remove this setting. If a model was trained with this key, keep it, because"
            " another key gives another split"
        )
