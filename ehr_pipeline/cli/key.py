"""The command that exports, imports or replaces the key of a store: `ehr-pipeline key`."""

import argparse
from pathlib import Path

from ehr_pipeline.cli.common import study_of
from ehr_pipeline.cli.parsing import Commands, add_command


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command with its actions."""
    key = add_command(
        commands,
        "key",
        None,
        "export, import or replace the key with which a store hashes patient ids",
        "key export key.bin --settings my_study.toml",
        about="Mirrors do not contain the key.",
        study=False,
    )
    actions = key.add_subparsers(required=True, metavar="COMMAND")
    exported = add_command(
        actions,
        "export",
        _export,
        "write the key of study.store into a new file, for another store",
        "key export key.bin --settings my_study.toml",
    )
    exported.add_argument("file", type=Path, help="new file (mode 0600); delete it once it has been imported")
    imported = add_command(
        actions,
        "import",
        _import,
        "replace the key of study.store by the key of the store that its artifacts come from",
        "key import key.bin --settings my_study.toml",
    )
    imported.add_argument("file", type=Path, help="the file that `key export` wrote")
    add_command(
        actions,
        "new",
        _new,
        "generate a new key, if the store's key is lost for good",
        "key new --settings my_study.toml",
    )


def _export(options: argparse.Namespace) -> int:
    from ehr_pipeline.store import secret_key

    key = secret_key.export(_store(options), options.file)
    print(f"wrote the key {key.name} to {options.file}: transport it as safely as the records, then delete the file")
    return 0


def _import(options: argparse.Namespace) -> int:
    from ehr_pipeline.store import secret_key

    store = _store(options)
    print(f"{store} now has the key {secret_key.bring(store, options.file).name}")
    return 0


def _new(options: argparse.Namespace) -> int:
    from ehr_pipeline.store import secret_key

    store = _store(options)
    print(
        f"{store} now has the new key {secret_key.draw_new(store).name}; values hashed with another key can no longer be compared"
    )
    return 0


def _store(options: argparse.Namespace) -> Path:
    return Path(study_of(options).study.store)
