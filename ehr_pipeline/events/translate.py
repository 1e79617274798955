"""Translate codes of other systems to SNOMED, by the user's dictionaries or OMOP's vocabulary. Codes in neither are unchanged."""

from pathlib import Path

import polars as pl

from ehr_pipeline.errors import InputError
from ehr_pipeline.events import names as names_of_codes
from ehr_pipeline.events.settings import CodeDictionary, EventsSettings
from ehr_pipeline.records import text
from ehr_pipeline.records.layouts import DelimitedText
from ehr_pipeline.tables.drop_reasons import in_words
from ehr_pipeline.terminology import omop, reading, snomed
from ehr_pipeline.terminology.reading import label
from ehr_pipeline.terminology.spelling import normalise_codes
from ehr_pipeline.work.progress import Progress

BLOCK_BYTES = 16 << 20
READ_BYTES = 5
"""Length of a Read code without its term code."""
RANKING_COLUMNS = ("is_assured", "mapstatus", "effectivedate")
NO_ROWS = ("empty_line", "repeated_header")


def translated_systems(settings: EventsSettings) -> frozenset[str]:
    """Return the code systems with a table in the study."""
    omops = [omop.CODE_SYSTEM] if settings.omop_vocabulary else []
    return frozenset([*settings.dictionaries, *omops])


def to_snomed(codes: pl.Series, settings: EventsSettings) -> pl.DataFrame:
    """Translate distinct codes; the result is sorted by code. An OMOP drug with several ingredients has a row for each.

        Columns:

        - code: as recorded; ICD-10 codes are looked up in upper case, whatever their case in the records;
        - snomed: the recorded SNOMED code, or the translation of another code; empty if there is none;
        - system: the code's system, if it has no table, or OMOP assigns the code to a vocabulary other than SNOMED; otherwise null;
        - token: the name of the code as a separate concept, if it was not translated to SNOMED;
        - label: its name in OMOP, in a dictionary or in a table of names;
        - also: runners-up, that is, other translations in a table;
    - kind, namespace: the kind of the code in `snomed` (`snomed.classify`).
    """
    recorded = pl.DataFrame({"code": codes.cast(pl.String).sort()}).with_columns(
        spelled=normalise_codes(pl.col("code"))
    )
    if recorded["spelled"].equals(recorded["code"]):  # most often
        return _translated(recorded["code"], settings)
    table = _translated(recorded["spelled"].unique().sort(), settings)
    return recorded.join(table, left_on="spelled", right_on="code", how="left", maintain_order="left_right").drop(
        "spelled"
    )


def _translated(codes: pl.Series, settings: EventsSettings) -> pl.DataFrame:
    """Translate sorted, normalised codes: see `to_snomed`."""
    table = codes.to_frame("code")
    system = pl.col("code").str.extract(r"^([^:]+):")
    nothing = pl.lit(None, pl.String)
    no_table = system.is_not_null() & ~system.is_in([*settings.dictionaries, omop.CODE_SYSTEM])
    table = table.with_columns(
        snomed=pl.when(system.is_null()).then("code").otherwise(pl.lit("")),
        system=pl.when(no_table).then(system),
        token=nothing,
        label=nothing,
        also=pl.lit(""),
    )
    for name in settings.dictionaries:
        translations = _chain(name, settings).select(
            normalise_codes(pl.format("{}:{}", pl.lit(name), "code")).alias("code"),
            found="snomed",
            called="name",
            ties=tied(pl.col("others")),
        )
        translations = translations.unique("code", keep="first", maintain_order=True)
        table = table.join(translations, on="code", how="left", maintain_order="left")
        table = table.with_columns(
            snomed=pl.coalesce("found", "snomed"),
            also=pl.coalesce("ties", "also"),
            label=pl.coalesce("called", "label"),
        ).drop("found", "ties", "called")
    if settings.omop_vocabulary and omop.CODE_SYSTEM not in settings.dictionaries:
        table = _with_concepts(table, Path(settings.omop_vocabulary))
    untranslated = system.is_not_null() & (pl.col("snomed") == "")
    if settings.names:
        table = table.with_columns(label=pl.coalesce("label", names_of_codes.look_up(table, settings.names)))
    kinds = snomed.classify(table["snomed"])
    return table.with_columns(
        kinds["kind"], kinds["namespace"], token=pl.when(untranslated).then(pl.coalesce("token", "code"))
    )


def _chain(name: str, settings: EventsSettings) -> pl.DataFrame:
    """Return a dictionary (code, snomed, name, others) after applying the tables in its `then` settings.

    A code that the next table lacks keeps its translation.
    """
    dictionary = settings.dictionaries[name]
    table = read_dictionary(dictionary, file_setting(name))
    while dictionary.then:
        name, dictionary = dictionary.then, settings.dictionaries[dictionary.then]
        following = read_dictionary(dictionary, file_setting(name))
        following = following.rename({"code": "snomed", "snomed": "next", "name": "called", "others": "more"})
        table = table.join(following, on="snomed", how="left", maintain_order="left")
        both = pl.concat_str("others", pl.col("more").fill_null(""), separator=" ").str.strip_chars()
        called = pl.when(pl.col("next").is_null()).then("name").otherwise("called")
        table = table.select(
            "code", snomed=pl.coalesce(pl.col("next").replace("", None), "snomed"), name=called, others=both
        )
    return table


def names(settings: EventsSettings) -> pl.DataFrame:
    """Return the names in the dictionaries. Columns: code, name.

    The code is SNOMED's, or system:code if the dictionary does not translate it.
    """
    parts = [pl.DataFrame(schema={"code": pl.String, "name": pl.String})]
    for system, dictionary in settings.dictionaries.items():
        if dictionary.name_column:
            with_system = normalise_codes(pl.format("{}:{}", pl.lit(system), "code"))
            code = pl.coalesce(pl.col("snomed").replace("", None), with_system)
            parts.append(_chain(system, settings).drop_nulls("name").select(code=code, name="name"))
    return pl.concat(parts)


def code_of_concept(system: str, code: str) -> pl.Expr:
    """Return the code of an OMOP concept in records and lists: SNOMED's own code, or system:code.

    `system` and `code` are the columns with the vocabulary and the code of the concept.
    """
    plain = pl.concat_str([pl.col(system).str.replace_all(r"[\s:]+", "_"), code], separator=":")
    return pl.when(pl.col(system) == omop.SNOMED).then(code).otherwise(plain).alias("code")


def tied(others: pl.Expr) -> pl.Expr:
    """Turn a table's other SNOMED codes for a code, separated by blanks, into runners-up: 'SCT:<id>'."""
    return pl.when(others == "").then(others).otherwise(pl.lit("SCT:") + others.str.replace_all(" ", " SCT:"))


def _with_concepts(table: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Translate OMOP's concept ids by its vocabulary: to SNOMED codes, or to tokens for codes of other systems."""
    prefix = f"{omop.CODE_SYSTEM}:"
    ids = table.filter(pl.col("code").str.starts_with(prefix))["code"].str.strip_prefix(prefix)
    is_snomed = pl.col("own_system") == omop.SNOMED
    name = pl.col("own_system").str.replace_all(r"[\s:]+", "_")
    others = pl.col("runners_up").str.split(" ").list.eval(pl.lit(prefix) + pl.element().filter(pl.element() != ""))
    concepts = omop.translate(folder, ids).select(
        pl.format("{}{}", pl.lit(prefix), "id").alias("code"),
        own_code=pl.col("code"),
        own_system=pl.col("system"),
        own_label=pl.col("name"),
        own_also=others.list.join(" "),
    )
    table = table.join(concepts, on="code", how="left", maintain_order="left_right")
    known = pl.col("own_system").is_not_null()
    return table.select(
        "code",
        snomed=pl.when(known & is_snomed).then("own_code").otherwise("snomed"),
        system=pl.when(known & ~is_snomed).then(name).otherwise("system"),
        token=pl.when(known & ~is_snomed).then(pl.concat_str([name, "own_code"], separator=":")).otherwise("token"),
        label=pl.when(known).then("own_label").otherwise("label"),
        also=pl.when(known).then("own_also").otherwise("also"),
    )


def file_setting(name: str, table: str = "dictionaries") -> str:
    """Return the setting of a dictionary's file."""
    return f"events.{table}.{name}.file"


def read_dictionary(dictionary: CodeDictionary, where: str) -> pl.DataFrame:
    """Read a table from local codes to SNOMED: one row per code (code, snomed, name, others).

    `others` are SNOMED codes ranked equally with `snomed`. If the table has names, codes without a SNOMED code are kept for their
    names.

    Of several SNOMED codes, the table's assured and current ones come first, then the latest (by columns IS_ASSURED, MAPSTATUS and
    EFFECTIVEDATE of the NHS's migration tables), then the lowest. `where` is the file's setting. Raises InputError for a file that
    cannot be used or is cut off.
    """
    path = Path(dictionary.file)
    if not path.is_file():
        raise InputError(
            f"{label(path, where)}: this dictionary does not exist. Correct the setting, or put the file there."
        )
    frame, names = _rows(path, dictionary, where)
    code, has_term = pl.col("code"), [name for name in frame.columns if name == "term"]
    if has_term:
        code = (
            pl.when(pl.col("code").str.len_bytes() == READ_BYTES).then(pl.concat_str("code", "term")).otherwise("code")
        )
    for number, value in enumerate(dictionary.where.values()):
        frame = frame.filter(pl.col(f"attribute:{number}") == value)
    name = pl.col("name").replace("", None) if dictionary.name_column else pl.lit(None, pl.String)
    translated = pl.col("snomed") != ""
    usable = frame.with_columns(code=code, name=name).filter(
        pl.col("code") != "", translated | pl.col("name").is_not_null()
    )
    better = [(pl.col(name) == "1").fill_null(False) for name in names if name != "effectivedate"]
    latest = [pl.col("effectivedate")] if "effectivedate" in names else []
    order = [*(column.alias(f"better:{number}") for number, column in enumerate([translated, *better, *latest]))]
    ranks = [f"better:{number}" for number in range(len(order))]
    ordered = usable.select("code", "snomed", "name", *order).sort(
        "code", *ranks, "snomed", "name", descending=[False, *[True] * len(ranks), False, False], nulls_last=True
    )
    ordered = ordered.unique(["code", "snomed"], keep="first", maintain_order=True)
    ties = pl.all_horizontal([pl.lit(True), *(pl.col(rank) == pl.col(rank).first() for rank in ranks)])
    return ordered.group_by("code", maintain_order=True).agg(
        pl.col("snomed", "name").first(), others=pl.col("snomed").filter(ties).slice(1).str.join(" ")
    )


def _rows(path: Path, dictionary: CodeDictionary, where: str) -> tuple[pl.DataFrame, list[str]]:
    """Return the wanted columns of a dictionary, and those of RANKING_COLUMNS that it has."""
    layout = DelimitedText(
        files=path.name, delimiter=dictionary.delimiter, quote=dictionary.quote, encoding=dictionary.encoding
    )
    section = where.removesuffix(".file")
    columns = {name.lower(): name for name in text.names(path, layout)}
    names = [name for name in RANKING_COLUMNS if name in columns]
    wanted = {"code": dictionary.code_column, "snomed": dictionary.snomed_column}
    wanted |= {"name": dictionary.name_column} if dictionary.name_column else {}
    wanted |= {"term": dictionary.term_column} if dictionary.term_column else {}
    wanted |= {f"attribute:{number}": column for number, column in enumerate(dictionary.where)}
    wanted |= {name: columns[name] for name in names}
    parts, line = [], text.first_line(layout)
    for split in text.read(path, layout, wanted, section, block_bytes=BLOCK_BYTES, progress=Progress(path.name, 1)):
        block = split()
        wrong = block.rejected.filter(~pl.col("reason").is_in(NO_ROWS)).sort("line")
        if wrong.height:
            raise InputError(
                f"{label(path, where)}, line {wrong['line'][0] + line}: a row {in_words(wrong['reason'][0])}. The file is cut off"
                f" or damaged: copy it again. Or correct {section}.delimiter and {section}.quote."
            )
        parts.append(block.rows)
        line += block.lines
    if not parts:
        raise InputError(f"{label(path, where)}: this dictionary has no row. Copy it again.")
    frame = pl.concat(parts)
    _refuse_cut(path, where, frame)
    return frame, names


def _refuse_cut(path: Path, where: str, frame: pl.DataFrame) -> None:
    """Raise InputError if the text ends within a SNOMED id: it has no last line end, and only its last id is invalid."""
    targets = frame["snomed"].tail(1000)
    targets = targets.filter(targets != "")
    if targets.is_empty() or not reading.unended_line(path).rstrip().endswith(targets[-1].encode()):
        return
    is_wrong = ~snomed.classify(targets)["kind"].is_in(["concept", "description"])
    if is_wrong[-1] and is_wrong.sum() == 1 and len(is_wrong) > 1:
        raise InputError(
            f"{label(path, where)}: the text ends in the middle of its last line, in a SNOMED id. The file is cut off: copy it"
            " again."
        )
