"""Define what a check is, and its result."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

from ehr_pipeline.disclosure.kinds import Figure
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study.settings import Study

Result = tuple[bool, str, dict[str, Figure]]
"""Whether the check passed; its message; and its figures, which are shown only through `figures.Guard`."""
UNEXPECTED = ". This should not happen: rebuild the asset, and report this if it recurs"
"""What to do if a check fails that can fail only through an error of the pipeline, or a changed file."""
Test = Callable[[Artifact, Store, Study], Result]


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
    """A check of one asset. Calling it runs it on an artifact."""

    name: str
    description: str
    test: Test
    blocking: bool = True
    only_warns: Callable[[Artifact, Study], bool] = lambda artifact, study: False
    """Whether this blocking check only warns about this artifact if it fails, because little is wrong."""
    applies: Callable[[Study], bool] = lambda study: True

    def __call__(self, artifact: Artifact, store: Store, study: Study) -> Result:
        """Run the check on an artifact."""
        return self.test(artifact, store, study)


def check(
    blocking: bool = True,
    only_warns: Callable[[Artifact, Study], bool] = Check.only_warns,
    applies: Callable[[Study], bool] = Check.applies,
) -> Callable[[Test], Check]:
    """Turn a function into a check with the function's name; its description is the first paragraph of the docstring."""

    def declare(test: Test) -> Check:
        paragraph, _, _ = inspect.cleandoc(test.__doc__ or "").partition("\n\n")
        return Check(test.__name__, " ".join(paragraph.split()), test, blocking, only_warns, applies)

    return declare
