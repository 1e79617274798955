"""Where Dagster keeps its state; refuses SQLite on a network file system.

SQLite relies on locks between processes, and its write-ahead log on shared memory. Network file systems do not provide
either reliably (sqlite.org/faq.html, sqlite.org/wal.html): a database there is corrupted sooner or later.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ehr_pipeline.errors import UserError
from ehr_pipeline.store.durable import write_atomically

CONFIGURATION = "dagster.yaml"
MOUNTS = Path("/proc/self/mounts")
# File system types by their kernel names. 9p and virtiofs are folders of a host, seen from a virtual machine.
_NETWORK = re.compile(
    "9p|acfs|afs|beegfs|ceph|cifs|coda|cvfs|davfs|fhgfs|glusterfs|gpfs|lustre|mfs|ncpfs|nfs4?|ocfs2|orangefs|panfs|prl_fs|pvfs2"
    "|smb3|smbfs|vboxsf|virtiofs|vmhgfs|wekafs"
)
# User-space file systems (FUSE) are taken to be remote, as most are (sshfs, s3fs, rclone, glusterfs, …), except these.
_LOCAL_FUSE = re.compile(
    r"fuse\.(bindfs|cryfs|encfs|exfat|fuse-overlayfs|gocryptfs|lxcfs|mergerfs|ntfs(-3g)?|unionfs|zfs)"
)


def home() -> Path:
    """Return the folder of Dagster's settings: DAGSTER_HOME, or `our_home`."""
    named = os.environ.get("DAGSTER_HOME")
    return Path(named) if named else our_home()


def state_folder() -> Path:
    """Return the folder of Dagster's state: EHR_STATE_DIR, or `data/dagster` in its home."""
    return Path(os.environ.get("EHR_STATE_DIR") or home() / "data" / "dagster")


def our_home() -> Path:
    """Return the top of a checkout; elsewhere the folder `ehr_pipeline_home` in the working directory, which may not exist yet."""
    package = Path(__file__).parents[1]
    if (package.parent / CONFIGURATION).is_file() and (package.parent / "pyproject.toml").is_file():
        return package.parent
    return Path.cwd() / "ehr_pipeline_home"


def refuse_network_disk(mounts: str | None = None) -> None:
    """Raise UserError when Dagster's SQLite files lie, or would lie, on a network file system.

    `mounts` is the text of /proc/self/mounts. If that file does not exist, as on macOS, nothing is checked or refused.
    """
    if mounts is None:
        if not MOUNTS.is_file():
            return
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    for folder in sqlite_folders(home()):
        place, kind = file_system(folder, mounts)
        if is_network(kind):
            raise UserError(
                f"Dagster's state is set to be in {folder}, which is on a network file system ({kind}, mounted at {place})."
                " It is kept in SQLite, whose files break there. Set EHR_STATE_DIR to a folder on a local disk of this machine, or"
                f" keep the state in PostgreSQL: `storage` in {home() / CONFIGURATION}, see docs/deployment.md."
            )


def is_network(kind: str) -> bool:
    """Return whether a file system type is a network file system."""
    return bool(_NETWORK.fullmatch(kind) or (kind.startswith("fuse.") and not _LOCAL_FUSE.fullmatch(kind)))


def sqlite_folders(home: Path) -> Iterator[Path]:
    """Yield the folders of the SQLite databases of an instance, by its dagster.yaml; none if its state is stored elsewhere.

    Raises UserError if dagster.yaml cannot be read.
    """
    try:
        configured = yaml.safe_load((home / CONFIGURATION).read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        configured = {"storage": {"sqlite": {"base_dir": {"env": "EHR_STATE_DIR"}}}}  # ours will be copied there
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{home / CONFIGURATION} cannot be read: {' '.join(str(error).split())}.") from None
    if not isinstance(configured, dict):
        raise UserError(f"{home / CONFIGURATION} is not a table of settings. Copy ours there.")
    named = ("storage", "run_storage", "event_log_storage", "schedule_storage")
    parts = [configured[name] for name in named if name in configured]
    if not parts:
        yield home  # Dagster's default
    for part in filter(None, parts):
        if "sqlite" in part:
            yield _folder((part["sqlite"] or {}).get("base_dir"), home)
        elif "Sqlite" in str(part.get("class", "")):
            yield _folder((part.get("config") or {}).get("base_dir"), home)


def _folder(base: Any, home: Path) -> Path:
    """Return the folder that dagster.yaml names by a path or by an environment variable; `home` if it names none."""
    if isinstance(base, dict):
        name = str(base.get("env"))
        default = home / "data" / "dagster" if name == "EHR_STATE_DIR" else home
        return Path(os.environ.get(name) or default)
    return Path(base) if base else home


def file_system(path: Path, mounts: str) -> tuple[str, str]:
    """Return the mount point and type of the file system of a path, which need not exist yet."""
    whole, found = path.resolve(), ("/", "")
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        place = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place)
        if whole.is_relative_to(place) and len(place) >= len(
            found[0]
        ):  # of two file systems at one mount point, the later hides the earlier
            found = place, kind
    return found


def ensure_home() -> Path:
    """Set DAGSTER_HOME and EHR_STATE_DIR if they are not set, and return the home. Its dagster.yaml keeps telemetry off.

    The default home is the top of a checkout; without a checkout, it is the folder `ehr_pipeline_home` in the working
    directory, created if missing. Raises UserError if the home holds no dagster.yaml, or if SQLite would be on a network
    file system.
    """
    named = os.environ.get("DAGSTER_HOME")
    home = Path(named) if named else default_home()
    if not (home / CONFIGURATION).is_file():
        raise UserError(
            f"DAGSTER_HOME is {home}, but it has no {CONFIGURATION}. Copy ours there:"
            " without it, telemetry is on and state lies elsewhere."
        )
    os.environ["DAGSTER_HOME"] = str(home)
    folder = state_folder()
    os.environ.setdefault("EHR_STATE_DIR", str(folder))
    refuse_network_disk()
    folder.mkdir(parents=True, exist_ok=True)
    return home


def default_home() -> Path:
    """Return the folder of our dagster.yaml: the top of a checkout, else a folder in the working directory, created if missing."""
    home = our_home()
    home.mkdir(exist_ok=True)
    for name in (CONFIGURATION, "workspace.yaml"):
        if not (home / name).is_file():
            ours = Path(__file__).parents[1] / "data" / name
            write_atomically(home / name, ours.read_text(encoding="utf-8"))
    return home
