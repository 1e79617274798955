"""Where Dagster keeps its state, and that SQLite never lies on a network file system.

SQLite keeps its promises by locks between processes, and its write-ahead log by memory that they share. Network file systems have
neither in a way that can be relied on (sqlite.org/faq.html, sqlite.org/wal.html): a database there is lost sooner or later.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ehr_pipeline.errors import UserError

CONFIGURATION = "dagster.yaml"
MOUNTS = Path("/proc/self/mounts")
# As the kernel calls them. 9p and virtiofs are folders of a host that a virtual machine sees.
_NETWORK = re.compile(
    "9p|acfs|afs|beegfs|ceph|cifs|coda|cvfs|davfs|fhgfs|glusterfs|gpfs|lustre|mfs|ncpfs|nfs4?|ocfs2|orangefs|panfs|prl_fs|pvfs2"
    "|smb3|smbfs|vboxsf|virtiofs|vmhgfs|wekafs"
)
# File systems of processes (FUSE) are taken for remote, as most are (sshfs, s3fs, rclone, glusterfs, …), but for these.
_LOCAL_FUSE = re.compile(
    r"fuse\.(bindfs|cryfs|encfs|exfat|fuse-overlayfs|gocryptfs|lxcfs|mergerfs|ntfs(-3g)?|unionfs|zfs)"
)


def home() -> Path:
    """The folder of Dagster's settings: DAGSTER_HOME, or ours."""
    named = os.environ.get("DAGSTER_HOME")
    return Path(named) if named else our_home()


def our_home() -> Path:
    """The top of a checkout; elsewhere the folder `ehr_pipeline_home` in the working directory, which may not be there yet."""
    package = Path(__file__).parents[1]
    if (package.parent / CONFIGURATION).is_file() and (package.parent / "pyproject.toml").is_file():
        return package.parent
    return Path.cwd() / "ehr_pipeline_home"


def refuse_network_disk(mounts: str | None = None) -> None:
    """Raise UserError when Dagster's SQLite files lie, or would lie, on a network file system.

    `mounts` is the text of /proc/self/mounts. Where there is none, as on macOS, nothing is known and nothing refused.
    """
    if mounts is None:
        if not MOUNTS.is_file():
            return
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    for folder in sqlite_folders(home()):
        place, kind = file_system(folder, mounts)
        if is_network(kind):
            raise UserError(
                f"Dagster's state is set to lie in {folder}, which is on a network file system ({kind}, mounted at {place})."
                " It is kept in SQLite, whose files break there. Set EHR_STATE_DIR to a folder on a local disk of this machine, or"
                f" keep the state in PostgreSQL: `storage` in {home() / CONFIGURATION}, as docs/deployment.md tells."
            )


def is_network(kind: str) -> bool:
    """Whether a kind of file system is one that other machines share."""
    return bool(_NETWORK.fullmatch(kind) or (kind.startswith("fuse.") and not _LOCAL_FUSE.fullmatch(kind)))


def sqlite_folders(home: Path) -> Iterator[Path]:
    """The folders of the databases that the settings of an instance name; none where these are kept elsewhere."""
    try:
        configured = yaml.safe_load((home / CONFIGURATION).read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        configured = {"storage": {"sqlite": {"base_dir": {"env": "EHR_STATE_DIR"}}}}  # ours is put there at the start
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{home / CONFIGURATION} cannot be read: {' '.join(str(error).split())}.") from None
    if not isinstance(configured, dict):
        raise UserError(f"{home / CONFIGURATION} is not a table of settings. Copy ours there.")
    named = ("storage", "run_storage", "event_log_storage", "schedule_storage")
    parts = [configured[name] for name in named if name in configured]
    if not parts:
        yield home  # what Dagster does where nothing is said
    for part in filter(None, parts):
        if "sqlite" in part:
            yield _folder((part["sqlite"] or {}).get("base_dir"), home)
        elif "Sqlite" in str(part.get("class", "")):
            yield _folder((part.get("config") or {}).get("base_dir"), home)


def _folder(base: Any, home: Path) -> Path:
    """A folder as dagster.yaml names it: by its path, or by a variable."""
    if isinstance(base, dict):
        name = str(base.get("env"))
        default = home / "data" / "dagster" if name == "EHR_STATE_DIR" else home
        return Path(os.environ.get(name) or default)
    return Path(base) if base else home


def file_system(path: Path, mounts: str) -> tuple[str, str]:
    """Where the file system of a path is mounted, and its kind; the path itself need not be there yet."""
    whole, found = path.resolve(), ("/", "")
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        place = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place)
        if whole.is_relative_to(place) and len(place) >= len(
            found[0]
        ):  # of two on one place, the later hides the other
            found = place, kind
    return found
