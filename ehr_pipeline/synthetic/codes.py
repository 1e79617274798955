"""The demo's code table: real SNOMED codes, with how often English general practices used them in 2018-19.

Source: NHS Digital, 'SNOMED code usage in primary care' (Open Government Licence v3.0), and the open maps of MONDO, DOID and
DICOM. Codes without an open CUI carry an invented one (C9…), and semantic types are approximate: this is not the UMLS.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.terminology import snomed
from ehr_pipeline.terminology.shipped import shipped

LABORATORY_OR_OBSERVABLE = ("T034", "T059", "T201")


@dataclass(frozen=True)
class CodeTable:
    """One row for each pair of code and concept, with the most used code first."""

    pairs: pl.DataFrame

    @classmethod
    def read(cls) -> "CodeTable":
        """Read the shipped table: code, name, usage, active, cui, tui, source."""
        frame = pl.read_csv(shipped("demo/codes.csv.gz"), infer_schema=False)
        return cls(frame.with_columns(pl.col("usage").cast(pl.Int64), active=pl.col("active") == "1"))

    @cached_property
    def codes(self) -> pl.DataFrame:
        """One row for each code that practices used, with its preferred concept and its namespace."""
        used = self.pairs.filter(pl.col("usage") > 0).unique("code", keep="first", maintain_order=True)
        return used.with_columns(namespace=snomed.classify(used["code"])["namespace"])

    @cached_property
    def international(self) -> NDArray[np.bool_]:
        """Which of `codes` belong to the international edition, and so would be in the UMLS (codes,)."""
        return (self.codes["namespace"] == "international").to_numpy()

    @cached_property
    def laboratory(self) -> NDArray[np.bool_]:
        """Which of `codes` are laboratory or observable entities (codes,), by semantic type or by the tag of their name."""
        tag = self.codes["name"].str.contains(r"\((observable entity)\)$")
        return (self.codes["tui"].is_in(LABORATORY_OR_OBSERVABLE) | tag).fill_null(False).to_numpy()

    def concept_of(self, code: str) -> str:
        """Return the preferred CUI of a code."""
        return str(self.pairs.filter(pl.col("code") == code)["cui"][0])

    def codes_of(self, cui: str) -> pl.DataFrame:
        """Return the codes whose preferred concept is `cui`, used or retired: columns code, usage."""
        first = self.pairs.unique("code", keep="first", maintain_order=True)
        return first.filter(pl.col("cui") == cui).select("code", "usage")

    def synonyms(self, rng: np.random.Generator, code: str, count: int) -> NDArray[np.object_]:
        """Draw `count` codes of the same concept as `code`, in proportion to their usage; retired codes are included."""
        codes = self.codes_of(self.concept_of(code))
        weight = codes["usage"].to_numpy().astype(float)
        weight = np.maximum(weight, 0.02 * weight.sum())  # old records still hold retired codes
        return rng.choice(codes["code"].to_numpy().astype(object), count, p=weight / weight.sum())
