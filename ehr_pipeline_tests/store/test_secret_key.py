"""What is kept about people is hashed with the key of the store, which no artifact, mirror or release holds."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from ehr_pipeline import cli
from ehr_pipeline.assets import ASSETS, identity
from ehr_pipeline.checks import withdrawn_patients
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.patients.settings import PUBLIC_KEY
from ehr_pipeline.planning import preflight
from ehr_pipeline.records import quarantine as quarantine_file
from ehr_pipeline.records import withdrawals
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import integrity, secret_key
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.store.artifacts import hash_of as digest_of
from ehr_pipeline.store.secret_key import Key
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.hashing import hash_of
from ehr_pipeline.typed_settings import file_hash
from ehr_pipeline_tests.conftest import tiny_settings, write_settings

MASK = 2**64 - 1


def sip_by_hand(message: int, low: int, high: int) -> int:
    """SipHash-2-4 of eight bytes as the paper writes it, on Python's numbers."""
    v = [low ^ 0x736F6D6570736575, high ^ 0x646F72616E646F6D, low ^ 0x6C7967656E657261, high ^ 0x7465646279746573]

    def turn(word: int, bits: int) -> int:
        return ((word << bits) | (word >> (64 - bits))) & MASK

    def rounds(number: int) -> None:
        for _ in range(number):
            for a, b, c, d, bits in ((0, 1, 2, 3, (13, 16)), (2, 1, 0, 3, (17, 21))):
                v[a], v[c] = (v[a] + v[b]) & MASK, (v[c] + v[d]) & MASK
                v[b], v[d] = turn(v[b], bits[0]) ^ v[a], turn(v[d], bits[1]) ^ v[c]
                v[a] = turn(v[a], 32)

    for word in (message, 8 << 56):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_siphash_is_that_of_its_authors() -> None:
    low, high = (int(word) for word in np.frombuffer(bytes(range(16)), "<u8"))
    assert sip_by_hand(0x0706050403020100, low, high) == 0x93F5F5799A932462, "their vector of eight bytes"
    words = np.random.default_rng(1).integers(0, MASK, 200, dtype=np.uint64, endpoint=True)
    low, high = 2**64 - 59, 12345678901234567890
    found = secret_key.siphash(words, np.uint64(low), np.uint64(high))
    assert found.tolist() == [sip_by_hand(word, low, high) for word in words.tolist()]


def test_a_key_is_drawn_once_closed_to_others_and_has_a_use_of_its_own_each_time(tmp_path: Path) -> None:
    one, other = secret_key.of(tmp_path / "a"), secret_key.of(tmp_path / "b")
    assert secret_key.of(tmp_path / "a") == one != other
    path = tmp_path / "a" / secret_key.FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in (tmp_path / "a").iterdir()] == [secret_key.FILE]
    assert one.secret.hex() not in repr(one)
    assert len({one.name, one.text("split")[:8], one.text("meds")[:8], other.name}) == 4
    path.chmod(0o644)
    secret_key.of(tmp_path / "a")
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("no key")
    with pytest.raises(UserError, match=r"a/.key is not the key of a store, which has 64 hex digits"):
        secret_key.of(tmp_path / "a")


def test_a_key_that_another_process_draws_meanwhile_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = secret_key.of(tmp_path)
    monkeypatch.setattr(secret_key, "read", lambda store: None)
    assert secret_key.of(tmp_path) == theirs


def quarantine(artifact: Artifact) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schemas.read(path)) for path in artifact.files("quarantine")])


def ids_in(extract: Path) -> pl.Series:
    lines = (extract / "landing" / EXTRACT / "patients.txt").read_text("latin-1").splitlines()[1:]
    return pl.Series(sorted({line.split("\t")[0] for line in lines}))


def test_no_hash_that_is_kept_gives_an_id_back(tiny: Pipeline, extract: Path) -> None:
    artifact = tiny.store.current("raw_records", EXTRACT)
    found = set(quarantine(artifact)["patient_hash"].drop_nulls())
    ids = ids_in(extract)
    assert found
    assert not found & set(hash_of(ids).tolist())
    assert found & set(secret_key.of(tiny.store.root).hashes(hash_of(ids)).tolist()), (
        "with the key they are those of patients"
    )


def test_the_key_lies_in_no_artifact_and_data_files_do_not_depend_on_it(
    tiny: Pipeline, extract: Path, tmp_path: Path
) -> None:
    secret = secret_key.of(tiny.store.root).secret
    for path in tiny.store.root.rglob("*"):
        if path.is_file() and path.name != secret_key.FILE:
            content = path.read_bytes()
            assert secret not in content
            assert secret.hex().encode() not in content
    again = Pipeline(tiny_settings(extract, study={"store": str(tmp_path / "store")})).raw_records(EXTRACT)
    before = tiny.store.current("raw_records", EXTRACT)
    assert again.data_version == before.data_version
    assert again.manifest["fingerprint"] == before.manifest["fingerprint"]
    hashes = [each["patient_hash"].drop_nulls() for each in (quarantine(again), quarantine(before))]
    assert not set(hashes[0]) & set(hashes[1])


def copied(tiny: Pipeline, extract: Path, tmp_path: Path, gone: list[str] | None = None, **study: Any) -> Pipeline:
    """The tiny study in a store of its own, with a list of withdrawals."""
    if not (tmp_path / "store").is_dir():
        shutil.copytree(tiny.store.folder("raw_records"), tmp_path / "store/records/raw_records")
        shutil.copy(tiny.store.root / secret_key.FILE, tmp_path / "store")
    records = {}
    if gone is not None:
        (tmp_path / "withdrawn.txt").write_text("\n".join(gone) + "\n")
        records = {"withdrawals": str(tmp_path / "withdrawn.txt")}
    return Pipeline(tiny_settings(extract, study={"store": str(tmp_path / "store"), **study}, records=records))


def test_who_withdrew_cannot_be_found_from_what_is_kept(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    gone = ids_in(extract)[5]
    pipeline = copied(tiny, extract, tmp_path, [gone])
    made = pipeline.raw_records(EXTRACT)
    plain = hash_of(pl.Series([gone]))
    assert not made.file(quarantine_file.WITHOUT_KEY).exists()
    kept = schemas.read(made.file(withdrawals.APPLIED))["patient_hash"].to_numpy()
    assert kept.tolist() == secret_key.of(pipeline.store.root).hashes(plain).tolist()
    told = json.dumps(made.manifest)
    for guess in (file_hash(tmp_path / "withdrawn.txt"), gone, str(plain[0])):
        assert guess not in told
    assert made.manifest["settings"]["withdrawals"].startswith(f"{secret_key.of(pipeline.store.root).name}:")
    assert not quarantine(made).filter(pl.col("patient_hash").is_in(kept.tolist())).height


def test_a_list_of_strangers_makes_nothing_anew_after_the_records(
    tiny: Pipeline, extract: Path, tmp_path: Path
) -> None:
    before = [copied(tiny, extract, tmp_path, ["a stranger"]).raw_records(EXTRACT).data_version]
    before.append(copied(tiny, extract, tmp_path, ["a stranger", "another"]).raw_records(EXTRACT).data_version)
    assert before[0] == before[1]
    gone = quarantine_only(tiny, extract)
    after = copied(tiny, extract, tmp_path, ["a stranger", "another", gone]).raw_records(EXTRACT)
    assert after.data_version != before[1], "the counts of rejected rows are other ones"


def quarantine_only(tiny: Pipeline, extract: Path) -> str:
    """A patient of whom only rejected rows tell."""
    kept = {
        patient
        for path in tiny.store.current("raw_records", EXTRACT).files("patients")
        for patient in schemas.read(path)["patient_id"].to_pylist()
    }
    hashes = set(quarantine(tiny.store.current("raw_records", EXTRACT))["patient_hash"].drop_nulls())
    for path in sorted((extract / "landing" / EXTRACT).glob("events_*.txt")):
        others = pl.Series(sorted({line.split("\t")[0] for line in path.read_text("latin-1").splitlines()[1:]} - kept))
        for patient, hashed in zip(
            others, secret_key.of(tiny.store.root).hashes(hash_of(others)).tolist(), strict=True
        ):
            if hashed in hashes:
                return str(patient)
    raise AssertionError("the extract has no such patient")


def as_before(artifact: Artifact, gone: list[str], listed: Path) -> None:
    """Give an artifact the form that it had before stores had keys."""
    for path in artifact.files("quarantine"):
        table = schemas.read(path).replace_schema_metadata(None)
        path.unlink()
        schemas.write(path, table)
    manifest = {key: value for key, value in artifact.manifest.items() if key not in ("notes", "checksum")}
    if gone:
        artifact.file(withdrawals.APPLIED).unlink()
        np.save(artifact.file(quarantine_file.WITHOUT_KEY), np.sort(hash_of(pl.Series(gone))))
        manifest["settings"]["withdrawals"] = file_hash(listed)
    files = integrity.measured(artifact.path)[0]
    manifest |= {"files": files, "data_version": digest_of({name: each["sha256"] for name, each in files.items()})}
    artifact.file("manifest.json").write_text(json.dumps(manifest))


def test_records_of_before_are_keyed_when_they_are_asked_for(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    pipeline = copied(tiny, extract, tmp_path)
    artifact = pipeline.store.current("raw_records", EXTRACT)
    as_before(artifact, [], tmp_path)
    assert not secret_key.names_in(pipeline.store.root)
    plain = quarantine(artifact)["patient_hash"]
    (pipeline.store.root / secret_key.FILE).unlink()
    again = pipeline.raw_records(EXTRACT)
    assert again.skipped
    key = secret_key.of(pipeline.store.root)
    assert secret_key.names_in(pipeline.store.root) == [key.name]
    found = quarantine(again)["patient_hash"]
    assert found.is_null().equals(plain.is_null())
    assert found.drop_nulls().to_list() == key.hashes(plain.drop_nulls().to_numpy()).tolist()
    assert not [path for path in artifact.path.parent.iterdir() if path.name.startswith(".making")]


def superseded(artifact: Artifact, name: str, keyed: bool) -> Path:
    """A copy of an artifact beside it, as another version of this package left it."""
    older = artifact.path.parent / name
    shutil.copytree(artifact.path, older)
    manifest = {key: value for key, value in artifact.manifest.items() if key != "checksum"} | {"fingerprint": name}
    (older / "manifest.json").write_text(json.dumps(integrity.sealed(manifest)))
    if not keyed:
        as_before(Artifact(older, manifest), [], older)
    return older


@pytest.mark.parametrize("asked", ["raw_records", "extract_catalog"])
def test_superseded_records_without_a_key_are_removed_by_the_next_run(
    tiny: Pipeline, extract: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, asked: str
) -> None:
    pipeline = copied(tiny, extract, tmp_path)
    current = pipeline.store.current("raw_records", EXTRACT)
    plain, keyed = superseded(current, "0" * 16, keyed=False), superseded(current, "1" * 16, keyed=True)
    cut = superseded(current, "2" * 16, keyed=True)
    (cut / "quarantine/text.arrow").write_bytes(b"ARROW1 and no more")
    with caplog.at_level("INFO", "ehr_pipeline"):
        made = pipeline.raw_records(EXTRACT) if asked == "raw_records" else pipeline.extract_catalog()
    assert [plain.exists(), keyed.exists(), cut.exists(), current.path.exists()] == [False, True, False, True]
    assert f"removed {plain}: superseded records" in caplog.text
    assert made.skipped == (asked == "raw_records")


def test_the_current_records_stay_until_their_successor_is_published(
    tiny: Pipeline, extract: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = copied(tiny, extract, tmp_path)
    before = pipeline.store.current("raw_records", EXTRACT)
    as_before(before, [], tmp_path)
    monkeypatch.setitem(ASSETS, "raw_records", dataclasses.replace(ASSETS["raw_records"], version="next"))
    broken = dataclasses.replace(pipeline.study.records, landing=str(tmp_path / "landing"))
    shutil.copytree(extract / "landing", tmp_path / "landing")
    for path in (tmp_path / "landing" / EXTRACT).glob("patients*"):
        path.unlink()
    with pytest.raises(InputError):
        Pipeline(dataclasses.replace(pipeline.study, records=broken)).raw_records(EXTRACT)
    assert quarantine(pipeline.store.current("raw_records", EXTRACT)).height, "what is current can still be read"
    made = pipeline.raw_records(EXTRACT)
    assert not made.skipped
    assert not before.path.exists()
    assert made.data_version == before.data_version


def test_the_hash_of_all_settings_says_nothing_of_who_withdrew(tmp_path: Path) -> None:
    study = tiny_settings(tmp_path, records={"withdrawals": str(tmp_path / "withdrawn.txt")})
    found = set()
    for patient in ("105754853", "105754854", ""):
        (tmp_path / "withdrawn.txt").write_text(f"{patient}\n")
        found.add(settings.digest(study))
    assert len(found) == 1
    assert found != {settings.digest(tiny_settings(tmp_path))}, "that there is a list is a setting"


def test_withdrawals_of_before_are_followed_and_keyed(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    first, second = ids_in(extract)[5], ids_in(extract)[9]
    pipeline = copied(tiny, extract, tmp_path, [first])
    before = pipeline.raw_records(EXTRACT)
    as_before(before, [first], tmp_path / "withdrawn.txt")
    before = pipeline.store.current("raw_records", EXTRACT)
    (pipeline.store.root / secret_key.FILE).unlink()
    assert withdrawn_patients.of_present_patients(before, pipeline.store, pipeline.study)[0], "its list is the same one"
    study = dataclasses.replace(pipeline.study.records, landing=str(tmp_path / "archived"))
    archived = Pipeline(dataclasses.replace(pipeline.study, records=study))
    made = archived.raw_records(EXTRACT)
    assert not made.skipped
    assert not made.file(quarantine_file.WITHOUT_KEY).exists()
    copied(tiny, extract, tmp_path, [first, second])
    more = archived.raw_records(EXTRACT)
    assert more.counts["patients"]["dropped"]["withdrawn"] == 2
    assert more.path.parent == before.path.parent
    assert not any(older.path.exists() for older in (made, before))


def test_a_lost_or_foreign_key_is_told_and_never_drawn_anew_by_itself(
    tiny: Pipeline, extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = copied(tiny, extract, tmp_path)
    store, name = pipeline.store.root, secret_key.of(tiny.store.root).name
    (store / secret_key.FILE).unlink()
    assert pipeline.raw_records(EXTRACT).skipped, "what is there needs no key"
    gone = copied(tiny, extract, tmp_path, [ids_in(extract)[5]])
    for refused in (lambda: gone.raw_records(EXTRACT), lambda: secret_key.of(store)):
        with pytest.raises(
            UserError, match=rf"key of the store is missing.*\({name}\).*`ehr-pipeline key import FILE`"
        ):
            refused()
    assert any("key of the store is missing" in fact for fact in preflight.inspect(pipeline.study).facts)
    assert any("key of the store is missing" in each for each in preflight.inspect(gone.study).problems)
    assert not (store / secret_key.FILE).exists()
    # It is moved by a command.
    here = str(write_settings(tmp_path / "here.toml", extract, tiny.store.root))
    there = str(write_settings(tmp_path / "there.toml", extract, store))
    file = tmp_path / "key"
    assert cli.main(["key", "export", str(file), "--settings", here]) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert cli.main(["key", "export", str(file), "--settings", here]) == cli.USER_ERROR
    assert cli.main(["key", "import", str(file), "--settings", there]) == 0
    assert f"has the key {name}" in capsys.readouterr().out
    assert gone.raw_records(EXTRACT).counts["patients"]["dropped"]["withdrawn"] == 1
    # A key that is in use is not replaced.
    secret_key.of(tmp_path / "third")
    secret_key.export(tmp_path / "third", tmp_path / "x")
    with pytest.raises(UserError, match="already has another key"):
        secret_key.bring(store, tmp_path / "x")
    with pytest.raises(UserError, match="Nothing was changed"):
        secret_key.draw_new(store)


def test_with_another_key_the_text_is_read_again_and_asked_for_where_it_is_gone(
    tiny: Pipeline, extract: Path, tmp_path: Path
) -> None:
    patient = ids_in(extract)[5]
    pipeline = copied(tiny, extract, tmp_path)
    (pipeline.store.root / secret_key.FILE).unlink()
    secret_key.draw_new(pipeline.store.root)
    gone = copied(tiny, extract, tmp_path, [patient])
    records = dataclasses.replace(gone.study.records, landing=str(tmp_path / "archived"))
    with pytest.raises(InputError, match=r"this extract must be read again.*key of another store"):
        Pipeline(dataclasses.replace(gone.study, records=records)).raw_records(EXTRACT)
    made = gone.raw_records(EXTRACT)
    assert made.counts["patients"]["dropped"]["withdrawn"] == 1
    assert secret_key.names_in(gone.store.root) == [secret_key.of(gone.store.root).name]


def without_key(study: settings.Study) -> settings.Study:
    split = dataclasses.replace(study.patients.split, key="")
    return dataclasses.replace(study, patients=dataclasses.replace(study.patients, split=split))


def test_a_new_study_gets_a_split_of_its_own_and_an_old_one_keeps_its_key(
    tiny: Pipeline, extract: Path, tmp_path: Path
) -> None:
    drawn = set()
    for name in ("a", "b"):
        study = without_key(tiny_settings(extract, study={"store": str(tmp_path / name)}))
        key = identity.split_settings(study).key
        assert identity.split_settings(study).key == key
        drawn.add(key)
    assert len(drawn) == 2
    assert not {"", PUBLIC_KEY} & drawn
    # A store whose split was made with the public default keeps it, and nothing is stale.
    old = without_key(tiny.study)
    assert identity.split_settings(old).key == PUBLIC_KEY
    for asset in ("data_split", "encoder_checkpoint"):
        assert ASSETS[asset].code_version(old) == ASSETS[asset].code_version(tiny.study)
    assert Pipeline(old).data_split().skipped
    # The same where the store's key is another one, as after a pull.
    (tmp_path / "c").mkdir()
    shutil.copytree(tiny.store.folder("data_split"), tmp_path / "c/patients/data_split")
    moved = dataclasses.replace(old, study=dataclasses.replace(old.study, store=str(tmp_path / "c")))
    assert identity.split_settings(moved).key == PUBLIC_KEY


def test_check_says_that_a_key_is_public(tiny: Pipeline) -> None:
    real = dataclasses.replace(tiny.study, clusters=dataclasses.replace(tiny.study.clusters, truth=""))
    told = "which is public"
    assert any(told in fact for fact in preflight.inspect(real).facts)
    assert not any(told in fact for fact in preflight.inspect(tiny.study).facts)
    assert not any(told in fact for fact in preflight.inspect(without_key(real)).facts)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.arrow").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"text\.arrow is damaged"):
        secret_key.name_in(tmp_path / "text.arrow")
    schemas.write(tmp_path / "plain.arrow", pa.table({"patient_hash": [1]}))
    assert secret_key.name_in(tmp_path / "plain.arrow") == ""
    assert secret_key.marked(schemas.QUARANTINE, Key(bytes(32))).metadata[secret_key.METADATA]
