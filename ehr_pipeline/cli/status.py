"""Commands that read a study's artifacts: status, report, find-codes, completion."""

import argparse
import os
import sys
from pathlib import Path

from ehr_pipeline.cli.common import FAILED, study_of
from ehr_pipeline.cli.parsing import Commands, add_command
from ehr_pipeline.errors import MissingArtifact, printable
from ehr_pipeline.study import ENVIRONMENT_VARIABLE
from ehr_pipeline.tables.asset_names import MAPPED_EVENTS

MOST_SHOWN = 30
"""At most this many of the codes found are printed; a file holds all of them."""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add these commands."""
    add_command(
        commands,
        "status",
        _status,
        "show which assets exist, which are stale and why, and what a run would do",
        "status --settings my_study.toml",
        about="It changes nothing. Times are those of the last build of each asset.",
    )
    report = add_command(
        commands,
        "report",
        _report,
        "print the path of the current report, which stays the same when the report changes",
        "report --settings my_study.toml --open",
    )
    report.add_argument("--open", action="store_true", help="open it in a browser")
    codes = add_command(
        commands,
        "find-codes",
        _find_codes,
        "find codes by words in their names, with their descendants, to make a concept list",
        "find-codes asthma --settings my_study.toml",
        "find-codes atopic dermatitis --settings my_study.toml --out atopic_dermatitis.csv",
        about="Names come from events.mrconso, events.descriptions, events.dictionaries, events.omop_vocabulary and the mapped"
        " extracts; the hierarchy from events.relationships; counts from the mapped extracts. The list is a draft: have it"
        " reviewed by a clinician.",
    )
    codes.add_argument(
        "words", nargs="+", help="words that must all occur in a name; upper and lower case do not matter"
    )
    codes.add_argument("--out", type=Path, metavar="FILE", help="new CSV file: a concept list of all codes found")
    completion = add_command(
        commands,
        "completion",
        _completion,
        "print a script with which your shell completes commands and options",
        "completion bash >> ~/.bashrc",
        "completion zsh >> ~/.zshrc",
        study=False,
    )
    completion.add_argument("shell", choices=["bash", "zsh"])


def _status(options: argparse.Namespace) -> int:
    study = study_of(options)
    from ehr_pipeline.runs import dry_run
    from ehr_pipeline.runs.pipeline import Pipeline
    from ehr_pipeline.work.progress import duration

    print(printable(f"study {study.study.name}: {os.environ[ENVIRONMENT_VARIABLE]}, store {study.study.store}"))
    print(f"\n{'asset':<22}{'extract':<13}{'state':<10}{'last took':>10}  why a run would build it")
    found = list(dry_run.states(Pipeline(study)))
    for one in found:
        took = "" if one.seconds is None else duration(one.seconds)
        print(printable(f"{one.asset:<22}{one.extract:<12} {one.state:<10}{took:>10}  {one.why}"))
    coming = [one for one in found if one.state != dry_run.MADE]
    if not coming:
        print("\nEverything is up to date: a run would build nothing.")
        return 0
    known = [one.seconds for one in coming if one.seconds is not None]
    about = f", in about {duration(sum(known))}, judging by the last builds" if known else ""
    new = f"; {len(coming) - len(known)} were never built, so their time is unknown" if len(known) < len(coming) else ""
    print(f"\nA run would build {len(coming)} of {len(found)} assets{about}{new}.")
    return FAILED if any(one.state == dry_run.BLOCKED for one in coming) else 0


def _report(options: argparse.Namespace) -> int:
    from ehr_pipeline.cli.summary import link_of_report

    study = study_of(options)
    link = link_of_report(study)
    if link is None:
        raise MissingArtifact(
            f"There is no report in {study.study.store} yet. Build it: ehr-pipeline run --settings"
            f" {os.environ[ENVIRONMENT_VARIABLE]}"
        )
    print(printable(str(link)))
    if options.open:
        import webbrowser

        webbrowser.open(Path(link).resolve().as_uri())
    return 0


def _completion(options: argparse.Namespace) -> int:
    from ehr_pipeline.cli import parser

    if options.shell == "zsh":
        print("autoload -U +X bashcompinit && bashcompinit")
    sys.stdout.write(script(parser()))
    return 0


def script(whole: argparse.ArgumentParser) -> str:
    """Return a bash script that completes commands, options and file names."""
    commands = next(action.choices for action in whole._actions if isinstance(action, argparse._SubParsersAction))
    cases = "\n".join(
        f"    {name}) words='{' '.join(_words(command))}' ;;" for name, command in (commands or {}).items()
    )
    return f"""_ehr_pipeline() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" words
  case "${{COMP_WORDS[1]}}" in
{cases}
    *) words='{" ".join(commands or {})}' ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  if [ "$COMP_CWORD" -gt 1 ]; then COMPREPLY+=($(compgen -f -- "$word")); fi
}}
complete -o filenames -F _ehr_pipeline ehr-pipeline
"""


def _words(command: argparse.ArgumentParser) -> list[str]:
    """Return the options of a command and the choices of its arguments."""
    words: list[str] = []
    for action in command._actions:
        words += [name for name in action.option_strings if name.startswith("--")]
        words += [] if action.option_strings else list(action.choices or [])
    return words


def _find_codes(options: argparse.Namespace) -> int:
    study = study_of(options)
    from ehr_pipeline.disclosure.figures import count_text
    from ehr_pipeline.planning import finding_codes
    from ehr_pipeline.store.artifacts import Store

    mapped = Store(study.study.store).usable(MAPPED_EVENTS)
    found = finding_codes.find(" ".join(options.words), study, mapped)
    below, rows = study.reports.suppress_below, found.table
    for row in rows.head(MOST_SHOWN).iter_rows(named=True):
        counted = "" if row["events"] is None else f"{count_text(row['events'], below):>16} events"
        print(printable(f"{row['code']:<19}{counted}  {row['name']}"))
    if rows.height > MOST_SHOWN:
        print(f"… and {rows.height - MOST_SHOWN:,} more")
    print(f"{rows.height:,} codes, found by names in {', '.join(found.looked_in)}")
    if not study.events.relationships:
        print("Descendants of these codes were not searched: events.relationships gives no hierarchy.")
    if mapped is None:
        print('No counts: no extract has been mapped yet (run --select "+mapped_events").')
    if options.out and rows.height:
        found.write(options.out)
        print(printable(f"wrote {options.out}: have it reviewed by a clinician, then give its path in the settings"))
    return 0 if rows.height else FAILED
