"""Read the TOML file that describes a whole study, and report all its problems at once."""

import dataclasses
import difflib
import json
import logging
import os
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic

from ehr_pipeline import typed_settings
from ehr_pipeline.clusters.settings import ClustersSettings
from ehr_pipeline.concepts.settings import ConceptsSettings
from ehr_pipeline.disclosure.figures import Guard
from ehr_pipeline.disclosure.governance import GovernanceSettings
from ehr_pipeline.embeddings.settings import EmbeddingsSettings
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.engines.settings import LauncherSettings
from ehr_pipeline.errors import SettingsError, invisible_character
from ehr_pipeline.events.settings import EventsSettings
from ehr_pipeline.forecasts.settings import ForecastsSettings
from ehr_pipeline.patients.settings import PatientsSettings
from ehr_pipeline.predictions.settings import PredictionsSettings
from ehr_pipeline.records.operation_settings import OperationSettings
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.relations.settings import RelationsSettings
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.store import special_files
from ehr_pipeline.store.artifacts import hash_of
from ehr_pipeline.study import ENVIRONMENT_VARIABLE as ENVIRONMENT_VARIABLE
from ehr_pipeline.study import between_sections, task_files
from ehr_pipeline.study import mirror_address as mirror
from ehr_pipeline.tables.schemas import DEATH
from ehr_pipeline.tasks.settings import TasksSettings
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline.trajectories.settings import TrajectoriesSettings
from ehr_pipeline.typed_settings import option, settings
from ehr_pipeline.vocabulary.settings import VocabularySettings

_log = logging.getLogger("ehr_pipeline")


@settings
class StudySettings:
    """The study as a whole."""

    name: str = option("Name of the study, as shown in the report.")
    store: str = option("Folder of the artifacts.", role="input")
    mirror: str = option(
        "Where `ehr-pipeline push` copies the current artifacts, and `pull` fetches them from: `s3://BUCKET/PREFIX`, or"
        " `file:///FOLDER` on another disk. Options go into the query of the address: `region`, `endpoint_override` (HOST:PORT"
        " of a server that is not Amazon's), `scheme`, `tls_ca_file_path`. Credentials come from the environment, never from"
        " the settings. Empty: there is no mirror.",
        "",
        role="operation",
    )
    seed: int = option("Seed of everything random.", 0, ge=0)
    shifted_dates: bool = option(
        "Whether each patient's dates are shifted by a random number of days, as in MIMIC. Calendar years then mean nothing, and"
        " are left out: of the map, the audit, the tests of clusters and courses, and the rule of thumb of tasks. The data have no"
        " common last day.",
        False,
    )


@settings
class Study:
    """All settings of one settings file. Relative paths are relative to the file."""

    study: StudySettings = option("The study as a whole.")
    records: RecordsSettings = option("The raw extract.")
    events: EventsSettings = option("The mapping to UMLS concepts.", EventsSettings())
    vocabulary: VocabularySettings = option("The vocabulary.", VocabularySettings())
    patients: PatientsSettings = option("The patient data set and its split.", PatientsSettings())
    tasks: TasksSettings = option("Clinical tasks.", TasksSettings())
    encoder: EncoderSettings = option("The encoder and its training.", EncoderSettings())
    launcher: LauncherSettings = option("Where the work runs.", LauncherSettings())
    concepts: ConceptsSettings = option("The concept check.", ConceptsSettings())
    relations: RelationsSettings = option("Which concepts go together.", RelationsSettings())
    embeddings: EmbeddingsSettings = option("The cohort and its embeddings.", EmbeddingsSettings())
    clusters: ClustersSettings = option("The clusters.", ClustersSettings())
    trajectories: TrajectoriesSettings = option("How patients change.", TrajectoriesSettings())
    predictions: PredictionsSettings = option("How models of the tasks are compared.", PredictionsSettings())
    forecasts: ForecastsSettings = option("Forecasts of the next concepts.", ForecastsSettings())
    reports: ReportsSettings = option("The reports.", ReportsSettings())
    governance: GovernanceSettings = option("The terms under which the data are used.", GovernanceSettings())
    operation: OperationSettings = option("Runs that start by themselves, and failures.", OperationSettings())

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attribute columns of the patient data set, sorted: from patient files, and derived from codes."""
        return tuple(sorted({*self.records.attributes, *self.patients.derived}))

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the attributes, such as the practice, by which recording may differ: that of habits, and the audited ones."""
        return tuple(sorted({self.embeddings.vectors.habits, *self.reports.audited} & {*self.attributes}))

    @property
    def records_deaths(self) -> bool:
        """Whether any input says who died: a column of death dates in the patient files, or a setting of the tasks."""
        return bool(self.tasks.death or self.tasks.death_attribute or DEATH in self.records.attributes)

    @property
    def guard(self) -> Guard:
        """The guard that suppresses and rounds the counts of the study."""
        return Guard(self.reports.suppress_below, self.governance.round_to)


def settings_path() -> Path:
    """Return the settings file that `EHR_PIPELINE_SETTINGS` names, or else the settings file of the embedded demo."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(named) if named else shipped("demo/settings.toml")


def load(path: Path, overrides: Mapping[str, Any] | None = None) -> Study:
    """Read and validate a settings file.

    `overrides`, a nested mapping of the same shape, replaces single values. Raises SettingsError with all problems.
    """
    if kind := special_files.special(path):
        raise SettingsError(str(path), [f"this is {kind}. Write the settings into a file, and give that file."])
    if not path.exists():
        raise SettingsError(str(path), ["there is no such file. `ehr-pipeline init DIR` starts one, as DIR/study.toml"])
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(str(path), [f"the file cannot be read: {error}"]) from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(str(path), [f"this is not valid TOML: {error}{_line(text, str(error))}"]) from None
    named, other = _with_names_of_today(values, str(path)), _with_names_of_today(overrides or {}, "overrides")
    return validate(merged(named, other), where=str(path), base=path.resolve().parent)


def _line(text: str, error: str) -> str:
    """Return the line of the file that an error message points to; empty if it names no line."""
    number, lines = re.search(r"at line (\d+)", error), text.splitlines()
    return f": {lines[int(number[1]) - 1].strip()}" if number and int(number[1]) <= len(lines) else ""


def validate(values: Mapping[str, Any], where: str = "settings", base: Path = Path()) -> Study:
    """Turn plain values into a Study. Relative paths are taken from `base`. Raises SettingsError with all problems."""
    if problems := list(
        _invisible_characters(values, "")
    ):  # stop here: such texts must not get into a path or another message
        raise SettingsError(where, problems)
    values = _with_presets(_with_names_of_today(values, where))
    values, problems = task_files.filled(values, base)
    if problems:
        raise SettingsError(where, problems)
    try:
        read = pydantic.TypeAdapter(Study).validate_json(json.dumps(values, default=str), strict=True)
    except pydantic.ValidationError as error:
        raise SettingsError(where, [_explain(detail) for detail in error.errors(include_url=False)]) from None
    study: Study = typed_settings.placed(read, base)
    if problems := [*_cross_checks(study, ""), *between_sections.problems(study), *_roots(study), *_special(study)]:
        raise SettingsError(where, problems)
    return study


def with_overrides(study: Study, overrides: Mapping[str, Any]) -> Study:
    """Return a study with some values replaced. Relative paths are relative to the working directory. Raises SettingsError."""
    if "preset" in overrides.get("encoder", {}):
        raise SettingsError("overrides", ["encoder.preset: give the differing settings one by one."])
    other = _with_names_of_today(overrides, "overrides")
    return validate(merged(dataclasses.asdict(study), other), where="overrides")


def digest(study: Study) -> str:
    """Return a hash (16 hex digits) of all settings and of the small lists that they name, except the list of withdrawals.

    A release shows this hash. If the hash covered a list of withdrawals that holds one patient, trying all ids would
    reveal this patient.
    """
    without_list = dataclasses.replace(study, records=dataclasses.replace(study.records, withdrawals=""))
    return hash_of([dataclasses.asdict(study), typed_settings.identity(without_list)])


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; later ones take precedence."""
    result: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            inner = result.get(key)
            result[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return result


RENAMED = {("reports", "colour_by"): "audited"}
"""New names of renamed settings, by section and old name. The old name is still read."""


def _with_names_of_today(values: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return the values under the current names of their settings. Raises SettingsError if both names of a setting are used."""
    for (section, old), new in RENAMED.items():
        table = values.get(section)
        if not isinstance(table, Mapping) or old not in table:
            continue
        if new in table:
            raise SettingsError(where, [f"{section}.{old} is the old name of {section}.{new}: remove {section}.{old}."])
        _log.warning("%s: %s.%s is called %s.%s now; the old name will stop working", where, section, old, section, new)
        values = {**values, section: {new if name == old else name: value for name, value in table.items()}}
    return values


BETWEEN_FIELDS = ("delimiter", "quote")
"""Settings that may contain invisible characters, such as a tab."""


def _invisible_characters(values: Any, place: str) -> Iterator[str]:
    """Yield problems with settings that contain an invisible character: it could break a line of a log, a path or a script."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            if character := invisible_character(str(key)):
                yield f"{place or 'the file'}: the name of a setting contains {character}."
            else:
                yield from _invisible_characters(value, f"{place}.{key}" if place else str(key))
    elif isinstance(values, list | tuple):
        for index, value in enumerate(values):
            yield from _invisible_characters(value, f"{place}[{index}]")
    elif (
        isinstance(values, str)
        and place.rpartition(".")[2] not in BETWEEN_FIELDS
        and (character := invisible_character(values))
    ):
        yield f"{place} contains {character}, which is invisible. Remove it."


def _with_presets(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the values of the chosen or default presets; values in the file take precedence."""
    filled = dict(values)
    for section, cls in (("encoder", EncoderSettings), ("embeddings", EmbeddingsSettings)):
        table = values.get(section)
        if isinstance(table, Mapping):
            presets: dict[str, dict[str, Any]] = cls.PRESETS
            name = table.get("preset", next(iter(presets)))
            filled[section] = merged(presets.get(name, {}) if isinstance(name, str) else {}, table)
    return filled


def _cross_checks(settings: Any, where: str) -> list[str]:
    """Return the problems that the settings classes report themselves, outer classes first."""
    own = getattr(settings, "problems", None)
    found = [f"{where}: {problem}" for problem in own()] if own else []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        parts = value if isinstance(value, tuple) else [value]
        for index, part in enumerate(parts):
            if dataclasses.is_dataclass(part):
                place = f"{where}.{field.name}" if where else field.name
                found += _cross_checks(part, f"{place}[{index}]" if isinstance(value, tuple) else place)
    return found


def _roots(study: Study) -> Iterator[str]:
    """Yield problems with the locations of the store, the landing folder and the mirror."""
    landing, store = Path(study.records.landing), Path(study.study.store)
    if landing == store or landing in store.parents:
        yield f"study.store lies in records.landing ({landing}), where each folder is an extract. Choose a folder outside it."
    elif store in landing.parents:
        yield f"records.landing lies in study.store ({store}), which contains only artifacts. Choose a folder outside it."
    if study.study.mirror and (problem := mirror.problem(study.study.mirror, str(store), str(landing))):
        yield f"study.mirror: {problem}."


def _special(study: Study) -> Iterator[str]:
    """Yield problems with paths that are neither files nor folders: reading a named pipe or a device may never end."""
    named = [*typed_settings.paths(study), *(("study.mirror", path) for path in mirror.paths(study.study.mirror))]
    for place, path in named:
        if kind := special_files.special(path):
            yield f"{place}: {path} is {kind}. Give a file or a folder."


def _explain(detail: Any) -> str:
    """Return a message for one pydantic error: the place, what is wrong, the given value, and valid values."""
    place = ""
    for part in detail["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    match detail["type"]:
        case "missing":
            return f"{place} is missing. {_documentation(detail['loc'])}".rstrip()
        case "unexpected_keyword_argument":
            siblings = _siblings(detail["loc"])
            nearest = difflib.get_close_matches(str(detail["loc"][-1]), siblings, n=1, cutoff=0.5)
            hints = [f"Did you mean {nearest[0]!r}?"] if nearest else []
            if not difflib.get_close_matches(
                str(detail["loc"][-1]), siblings, n=1, cutoff=0.8
            ):  # more than a misspelling
                hints.append(f"Valid keys: {', '.join(siblings)}.")
            return " ".join((f"{place} is not a setting.", *hints))
        case "int_type" | "int_parsing" | "int_from_float":
            return f"{place} must be a whole number. Got {json.dumps(detail['input'])[:80]}."
        case _:
            return f"{place}: {detail['msg']}. Got {json.dumps(detail['input'])[:80]}."


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    parent = _class_at(location[:-1])
    return [field.name for field in dataclasses.fields(parent)] if parent else []


def _documentation(location: tuple[int | str, ...]) -> str:
    parent = _class_at(location[:-1])
    found = [f for f in dataclasses.fields(parent) if f.name == location[-1]] if parent else []
    return str(found[0].metadata["description"]) if found else ""


def _class_at(location: tuple[int | str, ...]) -> Any:
    """Return the settings class that the location of a pydantic error points into; None if there is none."""
    hint: Any = Study
    for part in location:
        if dataclasses.is_dataclass(hint):
            hint = typing.get_type_hints(hint).get(str(part))
        elif typing.get_origin(hint) in (tuple, dict):
            hint = typing.get_args(hint)[0 if typing.get_origin(hint) is tuple else 1]
        else:
            return None
    return hint if dataclasses.is_dataclass(hint) else None
