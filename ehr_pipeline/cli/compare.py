"""The command `compare`: make several variants of one study and compare them."""

import argparse
import os
from pathlib import Path

from ehr_pipeline.cli.common import FAILED, print_problem
from ehr_pipeline.cli.parsing import Commands, add_command
from ehr_pipeline.errors import printable
from ehr_pipeline.study import ENVIRONMENT_VARIABLE


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command."""
    compare = add_command(
        commands,
        "compare",
        _compare,
        "run several variants of one study, and compare them",
        'compare --settings my_study.toml encoder.layers=4 "clusters.n=8,clusters.method=kmeans"',
        "compare narrow.toml wide.toml --out comparison",
        about="It prints a table of losses, tasks, groups, time and memory, and writes it to --out as CSV and as a page. Assets"
        " that variants share are built once. Variants have a separate store; the study's store is only read.",
    )
    compare.add_argument(
        "variants",
        nargs="+",
        metavar="FILE",
        help="a settings file; a TOML file with only the settings that differ; or settings such as clusters.n=6",
    )
    compare.add_argument(
        "--out", type=Path, default=Path("comparison"), help="new folder to write to (default: comparison)"
    )
    compare.add_argument(
        "--store",
        type=Path,
        help="folder for the artifacts of the variants (default: the path of the study's store with '.variants' added)",
    )


def _compare(options: argparse.Namespace) -> int:
    from ehr_pipeline.planning import making_variants as making
    from ehr_pipeline.planning import variant_table as writing
    from ehr_pipeline.planning.variants import variants
    from ehr_pipeline.store import publishing
    from ehr_pipeline.study import settings

    publishing.refuse_existing(options.out)
    named = options.settings or (settings.settings_path() if ENVIRONMENT_VARIABLE in os.environ else None)
    base = settings.load(named) if named else None
    first = base or settings.load(Path(options.variants[0]))
    study_store = Path(first.study.store)
    store = options.store.resolve() if options.store else study_store.with_name(f"{study_store.name}.variants")
    found = variants(base, options.variants, store)
    making.prepare(study_store, store)
    made = list(making.make(found))
    print(f"\n{writing.table(made)}\n")
    for one in made:
        if one.problem:
            print_problem("error", f"{one.name}: {one.problem}")
    for path in writing.write(options.out, first.study.name, made):
        print(printable(str(path)))
    return FAILED if any(one.problem for one in made) else 0
