"""Reads TOML files into models; what is wrong is said with the file and the place in it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pcbench.common.schema import first_problem
from pcbench.errors import PcbenchError, UsageError

M = TypeVar("M", bound=BaseModel)


def read_toml(path: Path, model: type[M], what: str, error: type[PcbenchError] = UsageError) -> M:
    """The model in a file.

    what: what the file is, as `suite`, for messages. error: what is raised where the file cannot be read, is
    no TOML or does not fit the model.
    """
    try:
        return model.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as problem:
        raise error(f"{what} {path} cannot be read ({problem.strerror})") from problem
    except ValidationError as problem:
        raise error(f"{path}: {first_problem(problem, what)}") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise error(f"{path}: is not TOML: {problem}") from problem
