"""What each stage's code was when its version was last thought about; `python -m ehr_pipeline_tests.versions` renews the record.

    python -m ehr_pipeline_tests.versions                       after a version in a declaration was raised
    python -m ehr_pipeline_tests.versions --same "why"          where the results stay the same

`versions.txt` has one line for each module that a stage is made of: its hash, and what was said when it last changed. A module
counts for every asset that is made with it, also through others; modules that only carry results (files, locks, messages,
pictures) do not. The hash is of the syntax tree without comments, docstrings, annotations, imports, and the texts of errors, logs
and settings.

The file is merged line by line: where a module has several lines, one of them has to fit.
"""

import argparse
import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import ehr_pipeline
from ehr_pipeline.assets import ASSETS

PACKAGE = Path(ehr_pipeline.__file__).parent
VERSIONS = {name: asset.version for name, asset in ASSETS.items()}
RECORD = Path(__file__).with_name("versions.txt")
COMMAND = 'python -m ehr_pipeline_tests.versions --same "why the results stay the same"'
MADE_BY = {
    "raw_records": ("records/build.py",),
    "extract_catalog": ("records/catalog.py", "patients/train_test_sides.py"),
    "mapped_events": ("events/build.py",),
    "vocabulary": ("vocabulary/build.py", "vocabulary/training_counts.py"),
    "patient_dataset": ("patients/dataset.py",),
    "data_split": ("patients/split.py",),
    "task_labels": ("tasks/build.py", "tasks/study_rules.py"),
    "encoder_checkpoint": ("encoder/build.py", "encoder/train.py"),
    "concept_embeddings": ("concepts/build.py",),
    "concept_relations": ("relations/build.py", "relations/pair_files.py"),
    "cohort": ("cohort/build.py",),
    "patient_embeddings": ("embeddings/build.py", "embeddings/embed.py"),
    "clusters": ("clusters/build.py",),
    "patient_trajectories": ("trajectories/build.py",),
    "task_results": ("predictions/build.py", "predictions/answers_job.py"),
    "forecasts": ("forecasts/build.py", "predictions/answers_job.py"),
}
"""The modules that make each asset. The version of `cluster_reports` follows from its sources (`identity.version_of_page`)."""
CARRIERS = frozenset(
    {
        "__init__.py",
        "store/artifacts.py",
        "work/buckets.py",
        "store/durable.py",
        "store/special_files.py",
        "drawing/plots.py",
        "errors.py",
        "typed_settings.py",
        "store/integrity.py",
        "work/jobs.py",
        "store/secret_key.py",
        "drawing/data_stages.py",
        "runs/passed_checks.py",
        "work/progress.py",
        "store/publishing.py",
        "work/threads.py",
        "store/watched_inputs.py",
        "store/build_lock.py",
    }
)
"""Modules that carry results, and decide none."""


@cache
def modules_of(asset: str) -> frozenset[str]:
    """The modules that an asset is made of, by their places in the package."""
    seen: set[str] = set()
    waiting = list(MADE_BY[asset])
    while waiting:
        name = waiting.pop()
        if name not in seen and name not in CARRIERS:
            seen.add(name)
            waiting += imports(PACKAGE / name, PACKAGE)
    return frozenset(seen)


def imports(path: Path, package: Path) -> Iterator[str]:
    """The modules of the package that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == package.name:
            folder = "/".join(node.module.split(".")[1:])
            for alias in node.names:
                for place in (f"{folder}/{alias.name}.py", f"{folder}.py", f"{folder}/__init__.py"):
                    if (package / (place := place.lstrip("/"))).is_file():
                        yield place
                        break


def assets_of(module: str) -> list[str]:
    """The assets that a module counts for."""
    return [asset for asset in MADE_BY if module in modules_of(asset)]


def digest(source: str) -> str:
    """Sixteen hex digits of what a module does."""
    return hashlib.blake2b(repr(_plain(ast.parse(source))).encode(), digest_size=8).hexdigest()


def _plain(node: Any) -> Any:
    """A syntax tree as nested tuples, without what changes no result, the same for each version of Python."""
    if isinstance(node, list):
        return [_plain(each) for each in node if not _says_only(each)]
    if not isinstance(node, ast.AST):
        return node
    if isinstance(node, ast.Raise):
        return "raise"
    apart = {"ctx", "kind", "type_comment", "type_params", "annotation", "returns"}
    values = {name: value for name, value in ast.iter_fields(node) if name not in apart and value not in (None, [])}
    if isinstance(node, ast.Constant):
        return "constant", repr(node.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "option":
        values["args"] = node.args[1:]
    return type(node).__name__, [(name, _plain(value)) for name, value in values.items()]


def _says_only(node: Any) -> bool:
    """Docstrings, imports, and what is logged."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    if not isinstance(node, ast.Expr):
        return False
    value = node.value
    if isinstance(value, ast.Constant):
        return isinstance(value.value, str)
    return isinstance(value, ast.Call) and ast.unparse(value.func).startswith("_log.")


def digests() -> dict[str, str]:
    """The hash of each module that counts for an asset, by its place, sorted."""
    names = sorted(frozenset[str]().union(*map(modules_of, MADE_BY)))
    return {name: digest((PACKAGE / name).read_text(encoding="utf-8")) for name in names}


@dataclass
class Record:
    """What `versions.txt` says."""

    versions: dict[str, int] = field(default_factory=dict)
    """The highest version recorded of each asset."""
    modules: dict[str, dict[str, str]] = field(default_factory=dict)
    """By module: what was said of each of its hashes."""

    @classmethod
    def of(cls, lines: Iterable[str]) -> "Record":
        """Read lines; what is none of the record is left out."""
        record = cls()
        for line in lines:
            name, _, rest = line.strip().partition(" ")
            if name in MADE_BY and rest.strip().isdigit():
                record.versions[name] = max(record.versions.get(name, 0), int(rest))
            elif name.endswith(".py"):
                hashed, _, said = rest.strip().partition(" ")
                record.modules.setdefault(name, {})[hashed] = said.strip()
        return record

    def changed(self, now: Mapping[str, str]) -> list[str]:
        """The modules with a hash that is not recorded."""
        return [name for name, hashed in now.items() if hashed not in self.modules.get(name, {})]

    def not_raised(self, versions: Mapping[str, str], changed: Iterable[str]) -> dict[str, list[str]]:
        """By changed module, the assets that it counts for whose version is the recorded one."""
        found = {
            name: [one for one in assets_of(name) if int(versions[one]) == self.versions.get(one)] for name in changed
        }
        return {name: assets for name, assets in found.items() if assets}

    def lines(self, now: Mapping[str, str], versions: Mapping[str, str], said: Mapping[str, str]) -> list[str]:
        """The record of today, sorted; `said` is what is to be said of changed modules."""
        assets = [f"{asset} {versions[asset]}" for asset in sorted(MADE_BY)]
        return assets + [
            f"{name} {hashed} {said.get(name) or self.modules.get(name, {}).get(hashed, '')}"
            for name, hashed in now.items()
        ]


def problem(record: Record, now: Mapping[str, str], versions: Mapping[str, str]) -> str:
    """What has to be done about the record, in words; empty when it is that of today."""
    changed = record.changed(now)
    raised = [asset for asset in MADE_BY if int(versions[asset]) > record.versions.get(asset, 0)]
    if not changed and not raised:
        return ""
    lines = [f"  {name}: {', '.join(assets_of(name))}" for name in changed]
    return (
        "Code changed that these assets are made with:\n"
        + "\n".join(lines or [f"  none; raised: {', '.join(raised)}"])
        + "\nWhere the same settings and inputs now give another result, raise the asset's version in ehr_pipeline/assets."
        f" Then renew the record:\n    {COMMAND}\n(without --same when the versions of all these assets were raised), and commit"
        f" {RECORD.parent.name}/{RECORD.name}."
    )


def renew(path: Path, same: str, now: Mapping[str, str], versions: Mapping[str, str]) -> str:
    """Write the record of today. Returns why it cannot, or ''."""
    record = Record.of(path.read_text(encoding="utf-8").splitlines() if path.is_file() else [])
    changed = record.changed(now)
    stay = record.not_raised(versions, changed)
    if stay and not same:
        return problem(record, now, versions)
    said = {}
    for name in changed:
        raised = [f"{asset} {versions[asset]}" for asset in assets_of(name) if asset not in stay.get(name, ())]
        parts = [f"raised {', '.join(raised)}"] * bool(raised) + [f"same result, because {same}"] * (name in stay)
        said[name] = "; ".join(parts)
    path.write_text("\n".join(record.lines(now, versions, said)) + "\n", encoding="utf-8")
    return ""


def main() -> None:
    """Renew the record."""
    parser = argparse.ArgumentParser(prog="python -m ehr_pipeline_tests.versions")
    parser.add_argument("--same", default="", help="why the results of what was not raised stay the same")
    if refused := renew(RECORD, " ".join(parser.parse_args().same.split()), digests(), VERSIONS):
        raise SystemExit(refused)
    print(f"{RECORD} is that of today")


if __name__ == "__main__":
    main()
