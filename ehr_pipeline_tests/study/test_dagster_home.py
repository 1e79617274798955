"""SQLite never lies on a network file system: told from a table of mounts, and from a real mount where one can be made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ehr_pipeline import cli, definitions
from ehr_pipeline.errors import UserError
from ehr_pipeline.study import dagster_home, settings
from ehr_pipeline.terminology.shipped import shipped

ROOT = Path(__file__).parents[2]
SFTP = Path("/usr/lib/openssh/sftp-server")


def mounts(place: Path, kind: str) -> str:
    escaped = str(place).replace(" ", r"\040")
    return f"/dev/vda / ext4 rw 0 0\nproc /proc proc rw 0 0\nserver:/x {escaped} {kind} rw,vers=4.2 0 0\n"


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, and Dagster's state set to lie in it."""
    monkeypatch.setenv("DAGSTER_HOME", str(ROOT))
    monkeypatch.setenv("EHR_STATE_DIR", str(tmp_path / "shared disk" / "state"))
    return tmp_path / "shared disk"


def configured(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "dagster.yaml").write_text(text)
    monkeypatch.setenv("DAGSTER_HOME", str(folder))


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "9p", "fuse.sshfs", "fuse.what_is_this"]
)
def test_a_network_file_system_is_refused(shared: Path, kind: str) -> None:
    with pytest.raises(UserError) as told:
        dagster_home.refuse_network_disk(mounts(shared, kind))
    for part in (
        f"{shared}/state",
        f"({kind}, mounted at {shared})",
        "EHR_STATE_DIR",
        "PostgreSQL",
        "docs/deployment.md",
    ):
        assert part in str(told.value)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "fuseblk", "fuse.bindfs"])
def test_a_local_one_is_not(shared: Path, kind: str) -> None:
    dagster_home.refuse_network_disk(mounts(shared, kind))


def test_a_mount_beside_or_under_the_state_does_not_count(shared: Path) -> None:
    for place in (shared.with_name("shared"), shared / "state" / "deeper", shared / "stat"):
        dagster_home.refuse_network_disk(mounts(place, "nfs4"))


def test_of_two_mounts_on_one_place_the_later_counts(shared: Path) -> None:
    dagster_home.refuse_network_disk(mounts(shared, "nfs4") + mounts(shared / "state", "ext4"))
    with pytest.raises(UserError, match="cifs"):
        dagster_home.refuse_network_disk(mounts(shared, "ext4") + mounts(shared, "cifs"))


def test_links_are_followed(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared.mkdir()
    link = shared.with_name("link")
    link.symlink_to(shared)
    monkeypatch.setenv("EHR_STATE_DIR", str(link / "state"))
    with pytest.raises(UserError, match="nfs4"):
        dagster_home.refuse_network_disk(mounts(shared, "nfs4"))


@pytest.mark.parametrize(
    "text",
    [
        "storage: {sqlite: {base_dir: FOLDER}}",
        "storage: {sqlite: {base_dir: {env: EHR_STATE_DIR}}}",
        "run_storage: {module: dagster._core.storage.runs, class: SqliteRunStorage, config: {base_dir: FOLDER}}",
        "telemetry: {enabled: false}",
        "",
    ],
)
def test_every_way_to_set_the_place_is_read(shared: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(shared, text.replace("FOLDER", f"'{shared}/state'"), monkeypatch)
    with pytest.raises(UserError, match="network file system"):
        dagster_home.refuse_network_disk(mounts(shared, "nfs4"))


def test_postgresql_may_be_named_from_anywhere(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith("storage: {postgres")]
    configured(shared, line, monkeypatch)
    dagster_home.refuse_network_disk(mounts(shared, "nfs4"))


def test_settings_that_cannot_be_read_are_told(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, told in (("storage: {", "cannot be read"), ("[]", "cannot be read|not a table"), ("- 1", "not a table")):
        configured(shared, text, monkeypatch)
        if text != "[]":
            with pytest.raises(UserError, match=told):
                dagster_home.refuse_network_disk(mounts(shared, "nfs4"))


def test_a_machine_without_such_a_table_refuses_nothing(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dagster_home, "MOUNTS", shared / "absent")
    dagster_home.refuse_network_disk()


def test_everything_that_opens_the_state_refuses(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = shared.with_name("mounts")
    table.write_text(mounts(shared, "nfs4"))
    monkeypatch.setattr(dagster_home, "MOUNTS", table)
    with pytest.raises(UserError, match="nfs4"):
        dagster_home.ensure_home()
    monkeypatch.setenv(settings.ENVIRONMENT_VARIABLE, str(shipped("demo/settings.toml")))
    with pytest.raises(UserError, match="nfs4"):
        definitions.defs()
    assert not shared.exists()
    for command in ("check", "run"):
        assert cli.main([command, "--settings", str(shipped("demo/settings.toml"))]) == cli.USER_ERROR
        assert f"{shared}/state" in capsys.readouterr().err


def test_a_real_mount_is_refused(tmp_path: Path) -> None:
    needed = {"sshfs": shutil.which("sshfs"), "unshare": shutil.which("unshare"), str(SFTP): SFTP.is_file()}
    if missing := [name for name, there in needed.items() if not there]:
        pytest.skip(f"there is no {', '.join(missing)} (Debian: apt-get install sshfs openssh-sftp-server)")
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("a file system is mounted by root, through /dev/fuse")
    for name in ("far", "near"):
        (tmp_path / name).mkdir()
    # A real sshfs without any network: it speaks to its server over a pipe, in a mount namespace that ends with the shell.
    script = f"""
        sshfs -f -o ssh_command={tmp_path}/server far:{tmp_path}/far {tmp_path}/near &
        for i in $(seq 100); do grep -q '{tmp_path}/near fuse.sshfs' /proc/self/mounts && break; sleep 0.1; done
        {sys.executable} -m ehr_pipeline.cli check --settings {shipped("demo/settings.toml")}
        echo "ended with $?"
        umount {tmp_path}/near; wait
    """
    (tmp_path / "server").write_text(f"#!/bin/sh\nexec {SFTP}\n")
    (tmp_path / "server").chmod(0o755)
    home = {"DAGSTER_HOME": str(ROOT), "EHR_STATE_DIR": f"{tmp_path}/near/state", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script],  # noqa: S607
        env=os.environ | home,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "ended with 2" in done.stdout, done.stderr
    assert (
        f"{tmp_path}/near/state, which is on a network file system (fuse.sshfs, mounted at {tmp_path}/near)"
        in done.stderr
    )
    assert not (tmp_path / "far/state").exists()
