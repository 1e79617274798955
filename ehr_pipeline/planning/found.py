"""What looks at the settings and inputs found: problems, warnings and facts, each as a sentence."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from ehr_pipeline.disclosure.figures import FEWEST
from ehr_pipeline.errors import UserError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass
class Preflight:
    """What was found."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """What can be read, but not as it is probably meant."""
    facts: list[str] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    """The kinds of files, by the section of the settings, that an extract has."""
    below: int = FEWEST
    """How many patients must have a value before it is shown."""
    attributes: dict[str, list[str]] = field(default_factory=dict, repr=False)
    """The values of the patients' attributes in the first rows of files."""

    def look(
        self, at: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> Result | None:
        """Note the problem that a look at an input meets, if it meets one."""
        try:
            return at(*arguments, **named)
        except UserError as error:
            self.problems.append(str(error))
        except OSError as error:
            self.problems.append(f"{error.filename}: {error.strerror or error}")
        return None
