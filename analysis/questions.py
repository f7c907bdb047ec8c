"""The questions that `mixpl sql --ask NAME` knows: `.sql` files whose heads say what they answer.

In: the files of `analysis/sql/questions/`. Out: `Question`: its text, what one row and each column mean, its
parameters with what they are where nobody says otherwise. Guaranteed: a parameter that a question does not have is
an error that names those it has.

A head reads: the question; "One row is …"; a line for each column; after "Parameters:" a line `$name = default`,
with the default as JSON, and its meaning.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from analysis.queries import SQL_FOLDER
from storage.errors import ConfigError

QUESTIONS = SQL_FOLDER / "questions"

_LINE = re.compile(r"--   (?P<name>\$?\w+)(?: = (?P<default>\S+))? +(?P<meaning>.+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """What a question lets its reader choose."""

    name: str
    default: object
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One `.sql` file."""

    name: str
    question: str
    """What it answers, in one line."""
    row: str
    """What one row of the answer is; more on how it is counted, line by line."""
    columns: tuple[tuple[str, str], ...]
    """Name and meaning."""
    parameters: tuple[Parameter, ...]
    sql: str
    """The query, without the head."""

    def bind(self, given: Mapping[str, object]) -> dict[str, object]:
        """Return the value of every parameter.

        Raises ConfigError for one that the question does not have, and for a number that it cannot be.
        """
        defaults = {parameter.name: parameter.default for parameter in self.parameters}
        for name in given:
            if name not in defaults:
                raise ConfigError(
                    f"expected a parameter of {self.name} ({', '.join(defaults) or 'it has none'}), got {name!r}; "
                    f"`mixpl sql --ask {self.name} --schema` says what they mean"
                )
        return {**defaults, **{name: _checked(name, defaults[name], value) for name, value in given.items()}}


def list_questions() -> list[Question]:
    """Return all questions, by name."""
    return [_read(path.stem) for path in sorted(QUESTIONS.glob("*.sql"))]


def open_question(name: str) -> Question:
    """Return the question of that name. Raises ConfigError naming the nearest ones."""
    names = sorted(path.stem for path in QUESTIONS.glob("*.sql"))
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"they are {', '.join(names)}"
        raise ConfigError(
            f"expected the name of a question, got {name!r}; {hint} (`mixpl sql --ask` lists them)"
        )
    return _read(name)


def _checked(name: str, default: object, value: object) -> object:
    """Return the value of a parameter: a count as its default is one, a number, or a name."""
    match default:
        case int():
            good, expected = isinstance(value, int) and value >= 1, "a whole number of at least 1"
        case float():
            good, expected = isinstance(value, int | float) and value >= 0, "a number of at least 0"
        case _:
            return (
                value if value is None or isinstance(value, str) else json.dumps(value)
            )  # a name such as 2012
    if isinstance(value, bool) or not good:
        raise ConfigError(f"expected {expected} for --param {name}, got {value!r}")
    return value


def _read(name: str) -> Question:
    text = (QUESTIONS / f"{name}.sql").read_text(encoding="utf-8")
    head = [line for line in text.splitlines() if line.startswith("--")]
    fields = [match for line in head if (match := _LINE.fullmatch(line))]
    first = head.index(fields[0][0])
    return Question(
        name=name,
        question=head[0].removeprefix("-- "),
        row="\n".join(line.removeprefix("-- ") for line in head[1:first]),
        columns=tuple((field["name"], field["meaning"]) for field in fields if field["name"][0] != "$"),
        parameters=tuple(
            Parameter(name=field["name"][1:], default=json.loads(field["default"]), meaning=field["meaning"])
            for field in fields
            if field["name"][0] == "$"
        ),
        sql="\n".join(text.splitlines()[len(head) :]),
    )
