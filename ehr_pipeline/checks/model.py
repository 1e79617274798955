"""The declaration of a check, and its result."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ehr_pipeline.disclosure.kinds import Figure
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study.settings import Study

Found = tuple[bool, str, dict[str, Figure]]
"""Whether the check passed, its message, and its figures, which are shown only through `figures.Guard`."""
Test = Callable[[Artifact, Store, Study], Found]


@dataclass(frozen=True)
class Outcome:
    """The result of one check."""

    name: str
    passed: bool
    message: str
    blocking: bool = True
    figures: dict[str, Figure] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A check of one asset."""

    name: str
    description: str
    test: Test
    blocking: bool = True
    only_warns: Callable[[Artifact, Study], bool] = lambda artifact, study: False
    """Whether a failure of this blocking check only warns for this artifact, because the finding is small."""
    applies: Callable[[Study], bool] = lambda study: True
