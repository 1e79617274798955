"""Named pipes and devices where a file or a folder is meant: a message, and nobody waits for what will never come."""

import argparse
import dataclasses
import os
import re
import signal
import socket
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline import cli, typed_settings
from ehr_pipeline.errors import Damaged, InputError, SettingsError, UserError
from ehr_pipeline.records import extract_files
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import integrity, secret_key, special_files
from ehr_pipeline.store.watched_inputs import Watched
from ehr_pipeline.study import settings
from ehr_pipeline.study.settings import Study
from ehr_pipeline_tests.conftest import records_settings, write_settings
from ehr_pipeline_tests.study.test_settings import MINIMAL

SECONDS = 60
"""A command that has not ended by then waits at a pipe."""


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Fail a test that waits at a pipe: the alarm interrupts the call that would never return."""

    def ring(*_: object) -> None:
        pytest.fail("it waits for somebody to write into the pipe")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_what_a_path_is_is_said_without_opening_it(pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(pipe)
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)  # the name of a socket is short
        listening.bind("socket")
        told = {
            name: special_files.special(tmp_path / name) for name in ("pipe", "link", "socket", "file", "nothing", "")
        }
    assert told == {
        "pipe": "a named pipe (FIFO)",
        "link": "a named pipe (FIFO)",
        "socket": "a socket",
        "file": "",
        "nothing": "",
        "": "",
    }
    assert special_files.special(Path("/dev/zero")) == "a device"


def with_paths(hint: Any, value: str) -> Iterator[tuple[str, Any]]:
    """For each setting of a type that names a path: its name, and plain values that give it `value`, with all that is required."""
    hints = typing.get_type_hints(hint)
    every = dataclasses.fields(hint)
    needed = {
        field.name: "x"
        for field in every
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        and hints[field.name] is str
    }
    for field in every:
        own = hints[field.name]
        if typed_settings.role(field) in ("list", "input"):
            yield field.name, needed | {field.name: value if own is str else [value]}
        elif dataclasses.is_dataclass(own):
            yield from (
                (f"{field.name}.{name}", needed | {field.name: inner}) for name, inner in with_paths(own, value)
            )
        elif (inside := [part for part in typing.get_args(own) if dataclasses.is_dataclass(part)]) != []:
            for name, inner in with_paths(inside[0], value):
                if typing.get_origin(own) is dict:
                    yield f"{field.name}.one.{name}", needed | {field.name: {"one": inner}}
                else:
                    yield f"{field.name}[0].{name}", needed | {field.name: [inner]}


SETTINGS = [name for name, _ in with_paths(Study, "")]


def test_all_kinds_of_settings_are_tried_here() -> None:
    assert {
        "study.store",
        "records.withdrawals",
        "events.descriptions",
        "events.dictionaries.one.file",
        "embeddings.cohort[0].concepts",
        "launcher.slurm.template",
    } <= set(SETTINGS)


@pytest.mark.parametrize("place", ["pipe", "/dev/zero"])
@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_may_name_one(name: str, place: str, pipe: Path) -> None:
    path = pipe if place == "pipe" else Path(place)
    values = settings.merged(MINIMAL, dict(with_paths(Study, str(path)))[name])
    with pytest.raises(SettingsError) as error:
        settings.validate(values)
    assert f"{name}: {path} is a " in str(error.value)


@pytest.mark.parametrize("address", ["file://{}", "s3://bucket/prefix?tls_ca_file_path={}"])
def test_nor_may_the_address_of_a_mirror(address: str, pipe: Path) -> None:
    values = settings.merged(MINIMAL, {"study": {"mirror": address.format(pipe)}})
    with pytest.raises(SettingsError, match=r"study.mirror: .* is a named pipe"):
        settings.validate(values)


def command_lines(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """A command line for each command that asks for settings, without them; what it needs beside them is there in some form."""
    if "--settings" in parser._option_string_actions:
        yield (*words, *(word for action in parser._actions for word in _some(action)))
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from command_lines(command, (*words, name))


def _some(action: argparse.Action) -> list[str]:
    if not action.required or isinstance(action, argparse._SubParsersAction):
        return []
    value = next(iter(action.choices)) if action.choices else "1" if action.type is float else "1x1x1"
    return [*action.option_strings[:1], str(value)]


COMMANDS = [" ".join(words) for words in command_lines(cli.parser())]


def test_all_commands_are_tried_here() -> None:
    assert {"run", "check", "verify", "ui", "key import 1x1x1", "export meds --out 1x1x1"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_settings_that_are_one(
    command: str, pipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command.split(), "--settings", str(pipe)]) == cli.USER_ERROR
    assert f"{pipe}: 1 problem\n  - this is a named pipe (FIFO)" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "run", "verify"])
def test_a_command_names_the_setting(
    command: str, pipe: Path, extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    withdrawals = {"withdrawals": str(pipe)}
    file = write_settings(tmp_path / "settings.toml", extract, tmp_path / "store", records=withdrawals)
    assert cli.main([command, "--settings", str(file)]) == cli.USER_ERROR
    assert f"records.withdrawals: {pipe} is a named pipe (FIFO)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["events.txt", "other", "nested/events2.txt"])
def test_an_extract_that_holds_one_is_not_read(landing: Callable[..., Path], name: str) -> None:
    folder = landing("id\tdate\tcode\n1\t2000-01-01\t73211009\n")
    read = records_settings(folder.parent)
    extract_files.list_extract(folder, read)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(InputError, match=f"{name}: this is a named pipe"):
        extract_files.list_extract(folder, read)


@pytest.mark.parametrize(
    "place", ["landing/pipe", "landing/2019-04-01/events_9.txt", "omop/CONCEPT.csv", "truth/patients.csv"]
)
def test_check_names_one_in_a_folder_that_the_settings_name(
    place: str, extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    os.mkfifo(tmp_path / place)
    folders = {
        "landing": {"records": {"landing": str(tmp_path / "landing")}},
        "omop": {"events": {"omop_vocabulary": str(tmp_path / "omop")}},
        "truth": {"clusters": {"truth": str(tmp_path / "truth")}},
    }[place.split("/")[0]]
    file = write_settings(tmp_path / "settings.toml", extract, tmp_path / "store", **folders)
    assert cli.main(["check", "--settings", str(file)]) == cli.USER_ERROR
    assert re.search(rf"{place}\b.*: this is a named pipe \(FIFO\)", capsys.readouterr().err)


def test_an_input_that_becomes_one_later_is_not_opened(pipe: Path) -> None:
    with pytest.raises(InputError, match="this is a named pipe"):
        Watched.of([pipe])


def test_a_store_that_holds_one_is_damaged(tiny: Pipeline, tmp_path: Path) -> None:
    made = tiny.store.current("vocabulary")
    folder = tmp_path / made.path.name
    folder.mkdir()
    os.mkfifo(folder / integrity.MANIFEST)
    with pytest.raises(Damaged, match="it is a named pipe"):
        integrity.read_manifest(folder, "vocabulary")
    os.mkfifo(tmp_path / secret_key.FILE)
    with pytest.raises(UserError, match=r"is a named pipe.* not the key"):
        secret_key.read(tmp_path)
