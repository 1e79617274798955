import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.terminology import reading, rrf


def atom(
    cui: str,
    code: str,
    tty: str = "PT",
    suppress: str = "N",
    ts: str = "P",
    stt: str = "PF",
    pref: str = "Y",
    sab: str = "SNOMEDCT_US",
) -> str:
    return f"{cui}|ENG|{ts}|L|{stt}|S|{pref}|A||{code}||{sab}|{tty}|{code}|{cui} {tty}|9|{suppress}||\n"


def read(tmp_path: Path, *lines: str) -> list[tuple[str, str, str]]:
    path = tmp_path / "MRCONSO.RRF"
    path.write_text("".join(lines))
    atoms = rrf.snomed_atoms(path, "SNOMEDCT_US", ("N", "O"))
    return list(atoms.select("code", "cui", "suppress").iter_rows())


def test_current_atoms_come_before_obsolete_ones(tmp_path: Path) -> None:
    found = read(tmp_path, atom("C0000001", "100", suppress="O"), atom("C0000002", "100"))
    assert found == [("100", "C0000002", "N"), ("100", "C0000001", "O")]


def test_preferred_atoms_come_before_lower_cuis(tmp_path: Path) -> None:
    found = read(tmp_path, atom("C0000001", "100", ts="S"), atom("C0000002", "100"))
    assert [cui for _, cui, _ in found] == ["C0000002", "C0000001"]


def test_the_lowest_cui_decides_between_equals(tmp_path: Path) -> None:
    assert [cui for _, cui, _ in read(tmp_path, atom("C0000003", "100"), atom("C0000002", "100"))] == [
        "C0000002",
        "C0000003",
    ]


def test_other_sources_and_suppressed_atoms_are_not_read(tmp_path: Path) -> None:
    found = read(
        tmp_path, atom("C0000001", "100", sab="ICD10"), atom("C0000002", "100", suppress="Y"), atom("C0000003", "200")
    )
    assert found == [("200", "C0000003", "N")]


def test_quotes_are_plain_characters(tmp_path: Path) -> None:
    assert read(tmp_path, atom('C"00001', "100"), atom("C0000002", "200"))[0][1] == 'C"00001'


def test_a_wrong_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "MRSTY.RRF"
    path.write_text("C0000001|T047||Disease|AT1||\n")
    with pytest.raises(InputError, match=r"line 1: 6 fields end in '\|', but this UMLS file has 18"):
        rrf.snomed_atoms(path, "SNOMEDCT_US", ("N",))
    with pytest.raises(InputError, match=r"nothing \(vocabulary.mrsty\): there is no such file"):
        rrf.semantic_types(tmp_path / "nothing")
    (tmp_path / "empty").write_text("")
    with pytest.raises(InputError, match="line 1"):
        rrf.semantic_types(tmp_path / "empty")


@pytest.mark.parametrize(
    ("keep", "told"),
    [
        (
            lambda packed: packed[: len(packed) // 2],
            r"MRCONSO.RRF.gz \(events.mrconso\): the gzip stream is damaged or cut off",
        ),
        (lambda packed: packed[:30], r"MRCONSO.RRF.gz \(events.mrconso\): the gzip stream is damaged or cut off"),
        (
            lambda packed: packed[:-8] + bytes(8),
            r"MRCONSO.RRF.gz \(events.mrconso\): the gzip stream is damaged or cut off",
        ),
        (
            lambda packed: gzip.decompress(packed) + b"\xff" + 18 * b"|",
            r"MRCONSO.RRF.gz \(events.mrconso\): the file cannot be read",
        ),
    ],
    ids=["half", "beginning", "checksum", "no UTF-8"],
)
def test_a_damaged_file_is_told_with_its_setting(tmp_path: Path, keep: Callable[[bytes], bytes], told: str) -> None:
    path = tmp_path / "MRCONSO.RRF.gz"
    whole = "".join(atom(f"C{number:07}", str(number * 7919 % 1_000_003)) for number in range(20_000))
    path.write_bytes(keep(gzip.compress(whole.encode())))
    with pytest.raises(InputError, match=told):
        rrf.snomed_atoms(path, "SNOMEDCT_US", ("N",))


@pytest.mark.parametrize("setting", ["events.mrconso", "vocabulary.mrsty", "events.mrsab"])
def test_the_beginning_of_a_cut_off_file_is_looked_at(tmp_path: Path, setting: str) -> None:
    path = tmp_path / "MR.RRF.gz"
    whole = gzip.compress("".join(atom("C1", str(number)) for number in range(9000)).encode())
    path.write_bytes(whole[:-100])
    with pytest.raises(InputError, match=rf"MR.RRF.gz \({setting}\): the gzip stream is damaged or cut off"):
        reading.check_gzip(path, setting)
    path.write_bytes(whole)
    reading.check_gzip(path, setting)
    path.write_text("plain")
    reading.check_gzip(path, setting)


def test_no_atom_of_the_source_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no atom of source 'SNOMEDCT_US'"):
        read(tmp_path, atom("C0000001", "100", sab="ICD10"))


def test_the_open_map_in_the_layout_of_the_umls(shared: Path) -> None:
    atoms = rrf.snomed_atoms(shared / "umls_like/MRCONSO.RRF.gz", "SNOMEDCT_US", ("N", "O"))
    best = dict(atoms.unique("code", keep="first", maintain_order=True).select("code", "cui").iter_rows())
    diseases = {
        "9014002": "C0033860",
        "24079001": "C0011615",
        "59393003": "C0162836",
        "77090002": "C0030805",
        "63501000": "C0263353",
    }
    assert {code: best[code] for code in diseases} == diseases
    types = rrf.semantic_types(shared / "umls_like/MRSTY.RRF.gz")
    assert ("C0033860", "T047") in set(types.iter_rows())


def test_the_version_of_a_source(tmp_path: Path) -> None:
    path = tmp_path / "MRSAB.RRF"
    rows = [("SNOMEDCT_US_2024_09_01", "N"), ("SNOMEDCT_US_2025_03_01", "Y")]
    values = [{"VSAB": version, "RSAB": "SNOMEDCT_US", "CURVER": current} for version, current in rows]
    path.write_text("".join("|".join(row.get(name, "") for name in rrf.MRSAB) + "|\n" for row in values))
    assert rrf.source_version(path, "SNOMEDCT_US") == "SNOMEDCT_US_2025_03_01"
    with pytest.raises(InputError, match="no current version of source 'SNOMEDCT_UK'"):
        rrf.source_version(path, "SNOMEDCT_UK")


@pytest.mark.parametrize("packed", [False, True])
def test_umls_text_that_ends_in_the_middle_is_refused_wherever_it_ends(tmp_path: Path, packed: bool) -> None:
    path, line = tmp_path / "MRSTY.RRF", b"C0004096|T047|B2.2.1.2.1|Disease or Syndrome|AT0||\n"
    for end in range(1, len(line) - 1):
        text = line * 3 + line[:end]
        path.write_bytes(gzip.compress(text, 1) if packed else text)
        with pytest.raises(InputError, match=r"MRSTY.RRF \(vocabulary.mrsty\), line 4: .* cut off or damaged"):
            rrf.semantic_types(path)
    path.write_bytes(line * 2 + line.rstrip())
    assert rrf.semantic_types(path).rows() == [("C0004096", "T047")]


def test_the_ends_of_a_large_file_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HEAD_BYTES", 1000)
    monkeypatch.setattr(reading, "AT_ONCE", 1000)
    monkeypatch.setattr(reading, "TAIL_BYTES", 500)
    path, line = tmp_path / "MRSTY.RRF", b"C0004096|T047|B2.2.1.2.1|Disease or Syndrome|AT0||\n"
    path.write_bytes(line * 400 + line[:20])
    with pytest.raises(InputError, match="one of its last lines"):
        rrf.scan(path, rrf.MRSTY, ends_only=True)
    path.write_bytes(line * 200 + line[:20] + b"\n" + line * 200)
    rrf.scan(path, rrf.MRSTY, ends_only=True)
    with pytest.raises(InputError, match="line 201: "):
        rrf.scan(path, rrf.MRSTY)
