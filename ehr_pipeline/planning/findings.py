"""The findings about settings and inputs: problems, warnings and facts, each as a sentence."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from ehr_pipeline.disclosure.figures import FEWEST
from ehr_pipeline.errors import UserError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass
class Preflight:
    """The findings so far, and facts that earlier checks collected for later ones."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """Sentences about inputs that can be read, but probably not as intended."""
    facts: list[str] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    """The sections of the settings whose kind of file at least one extract has."""
    below: int = FEWEST
    """A value is shown only if at least this many patients have it."""
    attributes: dict[str, list[str]] = field(default_factory=dict, repr=False)
    """The values of the patients' attributes in the first rows of files."""

    def look(
        self, at: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> Result | None:
        """Call a function that checks an input, and return its result. A UserError or OSError is noted as a problem, and None is
        returned."""
        try:
            return at(*arguments, **named)
        except UserError as error:
            self.problems.append(str(error))
        except OSError as error:
            self.problems.append(f"{error.filename}: {error.strerror or error}")
        return None
