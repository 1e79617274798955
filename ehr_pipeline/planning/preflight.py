"""Check the settings and the inputs that they name before any long work starts, and report all problems at once."""

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
from ehr_pipeline.events import names as names_of_codes
from ehr_pipeline.events.translate import place, read_dictionary
from ehr_pipeline.patients import derived_attributes, preview, training_patients
from ehr_pipeline.patients.settings import PUBLIC_KEY
from ehr_pipeline.planning import differing_rows, enough_data, extracts, guess_format, known_layouts
from ehr_pipeline.planning.findings import Preflight
from ehr_pipeline.records import catalog, extract_files, files, layouts, withdrawals
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.store import secret_key
from ehr_pipeline.store.file_listing import links_outside, walk
from ehr_pipeline.study.dagster_home import refuse_network_disk
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.schemas import DATED
from ehr_pipeline.tasks import aces, label_file, study_rules
from ehr_pipeline.terminology import code_lists, obo, omop, reading, rf2, rrf

WITHOUT = {
    rrf.MRCONSO: "no SNOMED code is mapped to the UMLS",
    rrf.MRSTY: "concepts have no semantic types, so that none is dropped or pooled by its type",
}
"""The consequence of a missing file, by the columns of the file."""


def inspect(study: Study) -> Preflight:
    """Check every input that the settings name, without reading large files to the end."""
    found = Preflight(below=study.reports.suppress_below)
    extracts.look_at_all(study, found)
    _terminology(study, found)
    _lists(study, found)
    _transfer(study, found)
    _consistency(study, found)
    _tasks(study, found)
    _store(study, found)
    _keys(study, found)
    enough_data.look(study, found)
    differing_rows.look(study, found)
    found.look(_acceptable, study, found)
    found.look(engine_for(study.launcher, Path(study.study.store)).check)
    found.look(refuse_if_expired, study.governance)
    found.look(refuse_network_disk)
    for texts in (found.problems, found.facts):  # a file of several kinds would be reported several times
        texts[:] = dict.fromkeys(texts)
    return found


def _acceptable(study: Study, found: Preflight) -> None:
    """Say whether the newest extract of CPRD holds patients who are not acceptable for research."""
    if found.problems or study.records.source != "cprd_aurum":
        return
    landing = Path(study.records.landing)
    for name in catalog.extracts_in(landing)[-1:]:
        tree = extract_files.tree_of(landing / name, study.records)
        people = [guess_format.sniff(path) for kind in study.records.kinds.patients for path in files.find(tree, kind)]
        if known_layouts.some_not_acceptable(people):
            found.facts.append(f"extract {name}: {known_layouts.NOT_ACCEPTABLE}")


def _terminology(study: Study, found: Preflight) -> None:
    for path, columns in ((study.events.mrconso, rrf.MRCONSO), (study.vocabulary.mrsty, rrf.MRSTY)):
        if not path:
            found.facts.append(f"{rrf.SETTINGS[columns]} names no file: {WITHOUT[columns]}")
        elif Path(path).is_file() and not Path(path).stat().st_size and _of_other_systems(study):
            found.facts.append(f"{path} ({rrf.SETTINGS[columns]}) is empty: {WITHOUT[columns]}")
        else:
            found.look(_umls, Path(path), columns)
    if study.events.mrconso and not study.vocabulary.mrsty:
        found.problems.append(
            "vocabulary.mrsty names no file, but events.mrconso does: the semantic types of UMLS concepts stand in MRSTY.RRF of the"
            " same release. Name it."
        )
    if study.events.mrsab:
        found.look(rrf.source_version, Path(study.events.mrsab), study.events.source)
    for table in ("dictionaries", "migrations"):
        for name, dictionary in getattr(study.events, table).items():
            found.look(read_dictionary, dictionary, place(name, table))
    if study.events.omop_vocabulary:
        found.look(omop.look, folder := Path(study.events.omop_vocabulary))
        found.facts += found.look(lambda: links_outside(walk(folder, deep=False), folder, omop.SETTING)) or []
    _names(study, found)
    for where, paths, wanted in (
        ("events.descriptions", study.events.descriptions, rf2.DESCRIPTION),
        ("events.associations", study.events.associations, rf2.ASSOCIATION),
        ("events.relationships", study.events.relationships, rf2.RELATIONSHIP),
    ):
        for name in paths:
            if found.look(rf2.scan, Path(name), wanted, where) is not None:
                found.look(rf2.refuse_cut, Path(name), where, ends_only=True)
    for path in study.concepts.ontology:
        if ontology.is_obo(path):
            found.look(obo.read, Path(path))
        else:
            found.look(rf2.scan, Path(path), rf2.RELATIONSHIP, obo.SETTING)


def _names(study: Study, found: Preflight) -> None:
    for name in study.events.names:
        found.look(names_of_codes.look, Path(name))
    if study.records.source == "meds" and not study.events.names:
        metadata = sorted(Path(study.records.landing).glob("*/metadata/codes.parquet"))
        if metadata and names_of_codes.is_there(metadata[-1]):
            found.facts.append(
                f'{metadata[-1]} has names of codes: to show them, set {names_of_codes.SETTING} = ["{metadata[-1]}"]'
            )


def _of_other_systems(study: Study) -> bool:
    """Whether the extracts may hold no SNOMED code at all."""
    systems = {kind.files.code_system for kind in study.records.kinds.events}
    return study.records.source == "meds" or not systems & {"", "snomed"}


def _umls(path: Path, columns: tuple[str, ...]) -> None:
    """Check the beginning of a large UMLS file. Raises InputError."""
    rrf.scan(path, columns, ends_only=True)
    reading.look(path, rrf.SETTINGS[columns])


def _lists(study: Study, found: Preflight) -> None:
    for name, attribute in study.patients.derived.items():
        found.look(derived_attributes.read, attribute.codes, derived_attributes.setting(name))
    if study.records.withdrawals:
        withdrawn = found.look(withdrawals.read, study.records.withdrawals)
        found.look(withdrawn_patients.list_of_withdrawals, study)
        found.facts.append(f"withdrawals: {len(withdrawn) if withdrawn is not None else 0:,} patients are listed")
    if study.events.overrides:
        found.look(code_lists.read_overrides, Path(study.events.overrides))
    problems, warnings, facts = lists.look(study)
    found.problems += problems
    found.warnings += warnings
    found.facts += facts


def _transfer(study: Study, found: Preflight) -> None:
    """Check the checkpoint of another study, and whether its training patients can be known."""
    if not study.encoder.transfer.checkpoint:
        return
    folder = Path(study.encoder.transfer.checkpoint)
    found.look(shape_check.look, folder, study.encoder)
    if study.patients.split.leaves_out:
        why = training_patients.cannot_be_checked(folder.parent, secret_key.read(Path(study.study.store)))
        if why:
            found.warnings.append(
                f"{shape_check.SETTING}: {folder}: {why}. Some of its patients may be on the test side here."
            )


def _systems(study: Study, found: Preflight) -> None:
    """Report code systems in the extracts for which no mapping table is set: a problem unless unmapped codes are kept."""
    keeps = study.events.unmapped == "keep"
    for kind in study.records.kinds.events:
        system = kind.files.code_system
        if kind.where not in found.read or system in ("", "snomed", *study.events.dictionaries):
            continue
        if system == omop.CODE_SYSTEM:
            if study.events.omop_vocabulary:
                continue
            told = (
                "events.omop_vocabulary is missing: the folder with CONCEPT.csv and, where you have them,"
                " CONCEPT_RELATIONSHIP.csv and CONCEPT_ANCESTOR.csv, which tell what OMOP's concept ids mean."
            )
            kept = "Each id is a concept of its own, without a name (events.unmapped)."
        else:
            known = ", ".join(study.events.dictionaries) or "none"
            told = (
                f"{layouts.setting(kind.where, 'code_system')}: the codes are of {system!r}, but [events.dictionaries] has no table"
                f" of that name (it has: {known})."
            )
            kept = "Each code is a concept of its own (events.unmapped)."
        advice = 'Name it, or keep each code as a concept of its own (events.unmapped = "keep").'
        (found.facts if keeps else found.problems).append(f"{told} {kept if keeps else advice}")


def _consistency(study: Study, found: Preflight) -> None:
    """Check settings of different sections that have to fit each other."""
    _systems(study, found)
    for level, text in preview.notes(study.records, study.patients.split, found.below):
        getattr(found, level).append(text)
    habits, usual = study.embeddings.vectors.habits, VectorSettings().habits
    if habits == usual and usual not in study.attributes:
        found.facts.append(f"patients carry no {usual!r}: codes that it records instead of one another stay apart")
    audited = study.reports.audited if study.reports.audited != ReportsSettings().audited else ()
    asked = {
        "reports.audited": audited,
        "reports.attribute_types": tuple(study.reports.attribute_types),
        "embeddings.vectors.habits": {habits} - {"", usual, "sex"},
    }
    for setting, names in asked.items():
        if missing := [name for name in names if name not in study.attributes]:
            found.problems.append(
                f"{setting} names {', '.join(missing)}, but the patient files carry no such attribute"
                f" (records.patients.attributes and patients.derived have: {', '.join(study.attributes) or 'none'})."
            )
    found.problems += _predicted(study)
    if study.vocabulary.min_patients < study.reports.suppress_below:
        found.facts.append(
            f"vocabulary.min_patients is {study.vocabulary.min_patients}: the model will name concepts of fewer than"
            f" {study.reports.suppress_below} patients, if there are any, and then cannot be handed on (`export model`)"
        )
    if study.clusters.truth and (problem := planted.problem(Path(study.clusters.truth))):
        found.problems.append(problem)


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
            yield f"{where} names {name!r}, but the patient files carry no such attribute (there are: {known})."
        elif name in DATED or name == study.tasks.death_attribute:
            yield (
                f"{where} names {name!r}, which holds dates: an encoder that learned when somebody leaves or dies could not be"
                " tested on it. Remove it."
            )
        elif name in study.patients.derived and study.tasks.any:
            yield (
                f"{where} names {name!r}, which is derived from codes of the whole record (patients.derived), but tasks are tested"
                " on what is recorded later. Remove it, or [tasks]."
            )


def _tasks(study: Study, found: Preflight) -> None:
    """Check what tasks need: a test side, files that can be read, and an attribute with dates of death."""
    tasks = study.tasks
    if not tasks.any:
        return
    if not study.patients.split.leaves_out:
        found.problems.append(study_rules.NO_TEST_SIDE)
    if tasks.death_attribute and tasks.death_attribute not in study.attributes:
        found.problems.append(
            f"tasks.death_attribute names {tasks.death_attribute!r}, but the patient files carry no such attribute (they have:"
            f" {', '.join(study.attributes) or 'none'})."
        )
    if not study.deaths_known:
        found.facts.append(
            "tasks: no deaths are known (tasks.death, tasks.death_attribute, columns.death of the patient files), so patients who"
            " died count as those who left"
        )
    fewest = study.patients.min_visits  # landmark number n has n visits up to and including it
    if fewest > 1 and any(task.aces or task.index != "landmark" or task.from_visit < fewest for task in tasks.task):
        found.facts.append(
            f"patients.min_visits is {fewest}: who has fewer visits in the whole record gets no label, although"
            " nobody knows that on the index day. Set it to 1 for tasks"
        )
    for task in tasks.task:
        if task.aces:
            found.look(aces.read, Path(task.aces), task.name, ())
        if task.index_file:
            found.look(label_file.read, Path(task.index_file))
    found.facts.append(f"tasks: {len(tasks.task)}" + (f", and {tasks.screen} of the screen" if tasks.screen else ""))


def _store(study: Study, found: Preflight) -> None:
    folder = Path(study.study.store)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        found.problems.append(f"{folder} (study.store): {existing} is not a folder that can be written to.")


def _keys(study: Study, found: Preflight) -> None:
    """Check the key of the store and the key of the split."""
    if problem := found.look(secret_key.foreign, Path(study.study.store)):
        found.facts.append(problem)
    if study.patients.split.key == PUBLIC_KEY and not study.clusters.truth:
        found.facts.append(
            "patients.split.key is that of the demo, which everybody knows: who has the ids can tell who was held out. Leave it out"
            " of a new study; where a model was trained with it, keep it, or the split is another"
        )
