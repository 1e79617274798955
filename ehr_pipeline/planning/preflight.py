"""Everything that can be known before anything long starts: the settings, and the inputs that they name. All problems at once."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from ehr_pipeline.chain.extracts import adds_to_others
from ehr_pipeline.checks import lists, presence
from ehr_pipeline.concepts import ontology
from ehr_pipeline.disclosure.figures import FEWEST
from ehr_pipeline.disclosure.governance import refuse_if_expired
from ehr_pipeline.embeddings.settings import VectorSettings
from ehr_pipeline.engines import engine_for
from ehr_pipeline.errors import UserError
from ehr_pipeline.events.translate import place, read_dictionary
from ehr_pipeline.patients import derived, preview
from ehr_pipeline.patients.settings import PUBLIC_KEY
from ehr_pipeline.records import build as records
from ehr_pipeline.records import catalog, files, layouts, listing, look, numeric, unread, withdrawals
from ehr_pipeline.records.kinds import EventKind, Kind, Kinds, PatientKind
from ehr_pipeline.records.look import Seen, tells
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.store import durable, secret_key
from ehr_pipeline.store.artifacts import Store, partition_problem
from ehr_pipeline.store.walk import Tree, links_outside, misplaced, walk
from ehr_pipeline.study.dagster_home import refuse_network_disk
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import RAW_RECORDS
from ehr_pipeline.terminology import code_lists, obo, omop, reading, rf2, rrf

WITHOUT = {
    rrf.MRCONSO: "no SNOMED code is mapped to the UMLS",
    rrf.MRSTY: "concepts have no semantic types, so that none is dropped or pooled by its type",
}
"""What it means that there is no such file."""
LOOKED_INTO = 100
"""Of so many extracts, the newest, the first rows are read; of the others, which most likely were read before, the columns."""
ATTRIBUTE_VALUES = 20_000
"""Values of an attribute, of each kind of file and extract, by which it is judged."""
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass
class Preflight:
    """What was found."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """What can be read, but not as it is probably meant."""
    facts: list[str] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    """The kinds of files, by the section of the settings, that an extract has."""
    below: int = FEWEST
    """How many patients must have a value before it is shown."""
    attributes: dict[str, list[str]] = field(default_factory=dict, repr=False)
    """The values of the patients' attributes in the first rows of files."""

    def look(
        self, at: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> Result | None:
        """Note the problem that a look at an input meets, if it meets one."""
        try:
            return at(*arguments, **named)
        except UserError as error:
            self.problems.append(str(error))
        except OSError as error:
            self.problems.append(f"{error.filename}: {error.strerror or error}")
        return None


def inspect(study: Study) -> Preflight:
    """Look at every input that the settings name, without reading any large one whole."""
    found = Preflight(below=study.reports.suppress_below)
    _extracts(study, found)
    _terminology(study, found)
    _lists(study, found)
    _consistency(study, found)
    _store(study, found)
    _keys(study, found)
    found.look(engine_for(study.launcher, Path(study.study.store)).check)
    found.look(refuse_if_expired, study.governance)
    found.look(refuse_network_disk)
    for texts in (found.problems, found.facts):  # one file may be of several kinds
        texts[:] = dict.fromkeys(texts)
    return found


def _extracts(study: Study, found: Preflight) -> None:
    landing = Path(study.records.landing)
    extracts = catalog.extracts_in(landing)
    if not landing.is_dir():
        found.problems.append(
            f"{landing} (records.landing): there is no such folder. Correct the setting, or make the folder: each extract"
            " is a folder of its own in it."
        )
    elif not extracts:
        found.problems.append(
            f"{landing} (records.landing): no extract. Each extract is a folder of its own in it, named by its date (YYYY-MM-DD)."
        )
    found.problems += found.look(misplaced, landing) or []
    store = Store(study.study.store)
    read, trees = store.partitions(RAW_RECORDS), list[Tree]()
    for extract in extracts[-1:] if study.records.mode == "snapshot" else extracts:
        if problem := partition_problem(extract):
            found.problems.append(
                f"{landing}: the folder {extract!r} cannot be an extract, since {problem}. Rename it."
            )
            continue
        found.look(records.latest_date, extract, study.records)
        alone = not adds_to_others(extract, store, study, [*extracts, *read])
        if tree := found.look(listing.tree_of, landing / extract, study.records):
            trees.append(tree)
            _extract(tree, study.records, found, extract in extracts[-LOOKED_INTO:], alone=alone)
    _attributes(study, found)
    if not read and study.records.mode == "increment":
        _missing_everywhere(landing, trees, study.records.kinds, found)


def _attributes(study: Study, found: Preflight) -> None:
    """What audited attributes are taken for."""
    for name in study.reports.audited:
        if values := found.attributes.get(name):
            doubtful, text = numeric.in_words(name, values, study.reports.attribute_types.get(name))
            (found.warnings if doubtful else found.facts).append(text)


def _missing_everywhere(landing: Path, trees: list[Tree], kinds: Kinds, found: Preflight) -> None:
    """One extract may hold events only, another one patients only; not all of them the same."""
    lacking = [set(found.look(listing.absent, tree, kinds) or ()) for tree in trees]
    if len(lacking) > 1 and (nowhere := set.intersection(*lacking)):
        found.problems.append(
            f"{landing} (records.landing): no extract has a file for {', '.join(sorted(nowhere))}. One of them has to."
        )


def _extract(tree: Tree, records: RecordsSettings, found: Preflight, into_rows: bool, *, alone: bool = True) -> None:
    """Look at the files of one extract: at their first rows, or at their columns alone.

    One that is not `alone` may hold events only, or patients only.
    """
    folder, kinds, rules = tree.folder, records.kinds, look.rules(tree.folder.name, records)
    sizes: dict[Path, int] = {}
    seen: list[tuple[Kind, list[Seen | None]]] = []
    absent: list[Kind] = []
    events = 0
    lacking = [] if alone else found.look(listing.absent, tree, kinds) or []
    for kind in kinds:
        paths = [] if kind.where in lacking else found.look(files.find, tree, kind)
        sizes |= {path: path.stat().st_size for path in paths or []}
        if paths == []:
            absent.append(kind)
        elif paths:
            found.read.add(kind.where)
        events += kind in kinds.events and paths != []
        if into_rows:
            seen.append((kind, [found.look(look.first_rows, path, kind, rules, found.below) for path in paths or []]))
            found.problems += look.problems(kind, [one for one in seen[-1][1] if one])
            for one in filter(None, seen[-1][1]):
                for name, values in one.attributes.items():
                    found.attributes.setdefault(name, []).extend(values[: ATTRIBUTE_VALUES // len(paths or [])])
            found.warnings += look.headers_alone(kind, [one for one in seen[-1][1] if one])
        else:
            for path in paths or []:
                found.look(files.read_header, path, kind)
    if not events and not lacking:
        looked_for = ", ".join(kind.where for kind in kinds.events)
        found.problems.append(f"{folder}: no file of events ({looked_for}).")
    found.facts.append(f"extract {folder.name}: {len(sizes)} files, {sum(sizes.values()) / 1e6:,.1f} MB")
    if absent:
        nothing = ", ".join(kind.where for kind in absent)
        found.facts.append(f"extract {folder.name}: nothing there for {nothing}")
    others = unread.look(tree, sizes)
    found.problems += unread.misnamed(folder, absent, others)
    if others.names:
        found.facts.append(f"extract {folder.name}: {others}")
    found.facts += links_outside(tree, folder.parent, f"extract {folder.name}")
    found.warnings += unread.left_out(folder, [kind for kind in kinds if kind not in absent], others)
    found.warnings += unread.unfinished(sizes)
    _without_rows(folder, seen, found, alone)
    for level, text in look.losses(
        [(kind, [one for one in looks if one]) for kind, looks in seen], records.limits, found.below
    ):
        getattr(found, level).append(text)


def _without_rows(folder: Path, seen: list[tuple[Kind, list[Seen | None]]], found: Preflight, alone: bool) -> None:
    """Without an event, or without a patient, nothing can be made; of other kinds it is only told that there is no row.

    An extract that is not `alone` may have the one without the other.
    """
    # One file may hold rows of both: kinds are told apart by themselves, not by the section that describes them.
    empty = [kind for kind, looks in seen if looks and all(one and _tells_nothing(kind, one) for one in looks)]
    needed = {
        what: [kind for kind, looks in seen if isinstance(kind, of) and looks and tells(kind)]
        for what, of in (("events", EventKind), ("patients", PatientKind))
    }
    without = {what: there for what, there in needed.items() if there and all(kind in empty for kind in there)}
    if alone or not any(there for what, there in needed.items() if what not in without):
        for what, there in without.items():
            found.problems.append(f"{folder}: {_lacks(what, there)}")
            empty = [kind for kind in empty if kind not in there]
    if empty:
        where = ", ".join(dict.fromkeys(kind.where for kind in empty))
        found.facts.append(f"extract {folder.name}: no row in the files of {where}")


def _tells_nothing(kind: Kind, seen: Seen) -> bool:
    """Whether a file has no row of a kind; or none with a birth, where certain rows tell it."""
    return seen.is_empty or (isinstance(kind, PatientKind) and bool(kind.births) and seen.whole and not seen.told)


def _lacks(what: str, kinds: Sequence[Kind]) -> str:
    """That no row is an event, or tells of a patient, and what to do."""
    where = ", ".join(kind.where for kind in kinds)
    births = [kind.births for kind in kinds if isinstance(kind, PatientKind) and kind.births]
    if births:
        return f"no row of the files ({where}) tells a birth, without which nobody is a patient: {' '.join(births)}"
    return f"the files of {what} ({where}) hold no row. Copy them again."


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


def _of_other_systems(study: Study) -> bool:
    """Whether the extract may hold no SNOMED code at all."""
    systems = {kind.files.code_system for kind in study.records.kinds.events}
    return study.records.source == "meds" or not systems & {"", "snomed"}


def _umls(path: Path, columns: tuple[str, ...]) -> None:
    """Look at the beginning of a large UMLS file. Raises InputError."""
    rrf.scan(path, columns, ends_only=True)
    reading.look(path, rrf.SETTINGS[columns])


def _lists(study: Study, found: Preflight) -> None:
    for name, attribute in study.patients.derived.items():
        found.look(derived.read, attribute.codes, derived.setting(name))
    if study.records.withdrawals:
        withdrawn = found.look(withdrawals.read, study.records.withdrawals)
        found.look(presence.list_of_withdrawals, study)
        found.facts.append(f"withdrawals: {len(withdrawn) if withdrawn is not None else 0:,} patients are listed")
    if study.events.overrides:
        found.look(code_lists.read_overrides, Path(study.events.overrides))
    problems, warnings, facts = lists.look(study)
    found.problems += problems
    found.warnings += warnings
    found.facts += facts


def _systems(study: Study, found: Preflight) -> None:
    """Whether there is a table for each system of codes in files that an extract has, or codes without one are kept."""
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
    """Settings of different sections that have to fit each other."""
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
    if study.vocabulary.min_patients < study.reports.suppress_below:
        found.facts.append(
            f"vocabulary.min_patients is {study.vocabulary.min_patients}: the model will name concepts of fewer than"
            f" {study.reports.suppress_below} patients, if there are any, and then cannot be handed on (`export model`)"
        )
    truth = Path(study.clusters.truth) / "patients.csv"
    if study.clusters.truth and not truth.is_file():
        kind = durable.special(truth)
        wrong = f"this is {kind}, where a file should be" if kind else "there is no such file"
        found.problems.append(f"{truth} (clusters.truth): {wrong}. Leave clusters.truth empty for real data.")


def _store(study: Study, found: Preflight) -> None:
    folder = Path(study.study.store)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        found.problems.append(f"{folder} (study.store): {existing} is not a folder that can be written to.")


def _keys(study: Study, found: Preflight) -> None:
    """The key of the store, and that of the split."""
    if problem := found.look(secret_key.foreign, Path(study.study.store)):
        found.facts.append(problem)
    if study.patients.split.key == PUBLIC_KEY and not study.clusters.truth:
        found.facts.append(
            "patients.split.key is that of the demo, which everybody knows: who has the ids can tell who was held out. Leave it out"
            " of a new study; where a model was trained with it, keep it, or the split is another"
        )
