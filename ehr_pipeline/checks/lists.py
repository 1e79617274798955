"""What can be said of concept lists before anything is made: whether they can be read, and whether their rows can find anything."""

from pathlib import Path

from ehr_pipeline.errors import UserError
from ehr_pipeline.events import listed
from ehr_pipeline.study.settings import Study
from ehr_pipeline.terminology import code_lists


def named(study: Study) -> dict[str, str]:
    """The concept lists of a study: files by the settings that name them."""
    lists = {
        "vocabulary.administrative_concepts": study.vocabulary.administrative_concepts,
        "concepts.concepts_of_interest": study.concepts.concepts_of_interest,
        "embeddings.pooling.concepts": study.embeddings.pooling.concepts,
    }
    lists |= {
        f"embeddings.cohort[{number}].concepts": disease.concepts
        for number, disease in enumerate(study.embeddings.cohort)
    }
    return {where: path for where, path in lists.items() if path}


def look(study: Study) -> tuple[list[str], list[str]]:
    """Problems with the concept lists of a study, and facts about them."""
    problems, facts = [], []
    for where, path in named(study).items():
        try:
            rows = code_lists.read(Path(path), where)
            wrong = listed.problems(rows, study.events)
        except UserError as error:
            problems.append(str(error))
            continue
        facts.append(f"concept list {Path(path).name}: {len(rows)} rows")
        problems += [f"{path} ({where}), {problem}." for problem in wrong]
    return problems, facts
