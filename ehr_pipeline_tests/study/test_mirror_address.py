"""`study.mirror`: what it may say, and that no credentials stand in it."""

from pathlib import Path

import pytest

from ehr_pipeline.errors import SettingsError, UserError
from ehr_pipeline.mirror.object_store import Mirror
from ehr_pipeline.study.mirror_address import parse
from ehr_pipeline_tests.mirror.conftest import study_at


@pytest.mark.parametrize(
    ("uri", "root"),
    [
        ("s3://bucket", "bucket"),
        ("s3://bucket/", "bucket"),
        ("s3://bucket/a/b/?region=eu-west-2", "bucket/a/b"),
        ("s3://b/a?endpoint_override=127.0.0.1:9000&scheme=http", "b/a"),
        ("s3://b/a?endpoint_override=minio.hospital:9000&tls_ca_file_path=/etc/ca.pem", "b/a"),
        ("file:///mnt/a%20disk/study", "/mnt/a disk/study"),
    ],
)
def test_addresses(uri: str, root: str) -> None:
    assert parse(uri).root == root
    assert "?" not in parse(uri).name


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("/mnt/disk", "not a URI"),
        ("gs://bucket/a", "not a URI"),
        ("s3:///a", "not a URI"),
        ("s3://key:hidden@bucket/a", "contains credentials"),
        (
            "s3://b/a?access_key=hidden",
            "'access_key' is not one of its options.* Credentials come from the environment",
        ),
        ("s3://b/a?region=", "empty, or is given twice"),
        ("s3://b/a?region=x&region=y", "empty, or is given twice"),
        ("s3://b/a?hidden", "not a URI"),
        ("s3://b/a/../c", "'..'"),
        ("s3://b/a//c", "'//'"),
        ("s3://b/a#c", "'#'"),
        ("s3://b/a?endpoint_override=https://c:1", "without a scheme"),
        ("s3://b/a?scheme=http", "in the open"),
        ("s3://b/a?scheme=http&endpoint_override=minio.hospital:9000", "in the open"),
        ("s3://b/a?scheme=ftp", "https or http"),
        ("file://server/a", "file:///FOLDER"),
        ("file:///", "file:///FOLDER"),
        ("file:///a?b=c", "file:///FOLDER"),
    ],
)
def test_what_no_address_is(tmp_path: Path, uri: str, message: str) -> None:
    with pytest.raises(SettingsError, match=f"study.mirror: .*{message}") as caught:
        study_at(tmp_path, "store", uri)
    assert "hidden" not in str(caught.value)


def test_a_mirror_lies_apart_from_the_store(tmp_path: Path) -> None:
    for folder in ("store", "store/a", ""):
        with pytest.raises(SettingsError, match=r"it is inside study\.store"):
            study_at(tmp_path, "store", f"file://{tmp_path}/{folder}")


def test_without_a_mirror_there_is_nothing_to_do() -> None:
    with pytest.raises(UserError, match=r"study\.mirror is not set"):
        Mirror.at("")
