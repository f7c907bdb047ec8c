"""`mixpl sql` on a terminal: questions one after the other.

In: lines, as a person types them. Out: answers and one-line errors on the screen, until `.quit` or the end of the
input. A question ends with `;` and may run over several lines. Guaranteed: an error of the outside world or Ctrl-C
ends the question and not the shell, an error of ours keeps its traceback; what appears on disk meanwhile is seen
after `.refresh`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

import duckdb

from jobs.console.print_table import print_table
from jobs.console.questions import empty_views, judge_for, run_query
from storage.database.connect import VIEWS, ViewDescription, describe_views
from storage.database.workspace import Workspace, discover
from storage.errors import ConfigError, came_from_outside

PROMPT, CONTINUED = "mixpl> ", "  ...> "

HELP = """A question ends with ; and may run over several lines.
.views          the views, and what one row of each is
.schema VIEW    the columns of a view, and what they mean
.refresh        look for new files
.quit           leave (or Ctrl-D)"""


Connect = Callable[[Workspace], duckdb.DuckDBPyConnection]
"""Opens the views over a workspace."""


def shell(connect: Connect, workspace: Workspace, *, read: Callable[[str], str] = input) -> None:
    """Answer until the input ends; `read` takes a prompt and gives a line, or raises EOFError."""
    session = _Session(connect, workspace)
    _complete_names(describe_views(session.connection))
    print(
        f"Below {workspace.root}: {len(workspace.datasets)} data sets, {len(workspace.rounds)} rounds of labels, "
        f"{len(workspace.runs)} runs. End questions with ; and see .help"
    )
    with contextlib.suppress(EOFError):
        while True:
            try:
                session.take(read(CONTINUED if session.pending else PROMPT))
            except KeyboardInterrupt:
                session.pending = ""
                print("interrupted", file=sys.stderr)
            except Exception as error:
                if not came_from_outside(error):
                    raise
                session.pending = ""
                print(error, file=sys.stderr)


def print_view(view: ViewDescription) -> None:
    """Print what a row of a view is, and the meaning of each column."""
    print(f"{view.name}  {view.row}")
    for column, meaning in view.columns:
        print(f"  {column:<16}{meaning}")


class _Session:
    def __init__(self, connect: Connect, workspace: Workspace) -> None:
        self._connect = connect
        self.connection = connect(workspace)
        self.workspace = workspace
        self.pending = ""

    def take(self, line: str) -> None:
        """Take one line: a command, or a part of a question."""
        if not self.pending and line.strip().startswith("."):
            self._command(*line.split())
            return
        if not self.pending and line.strip().rstrip(";").lower() in ("quit", "exit"):
            raise EOFError
        self.pending = f"{self.pending}\n{line}" if self.pending else line
        if self.pending.strip().endswith(";"):
            query, self.pending = self.pending, ""
            judge_for(self.connection, self.workspace, query)
            answer = run_query(self.connection, query)
            for empty in empty_views(query, self.workspace):
                print(empty, file=sys.stderr)
            print_table(answer)
        elif not self.pending.strip():
            self.pending = ""

    def _command(self, name: str, *words: str) -> None:
        match name:
            case ".help":
                print(HELP)
            case ".views":
                for view in describe_views(self.connection):
                    print(f"{view.name:<16}{view.row}")
            case ".schema":
                _print_columns(describe_views(self.connection), *words)
            case ".refresh":
                self.workspace = discover(self.workspace.root)
                self.connection = self._connect(self.workspace)
                print(
                    f"{len(self.workspace.datasets)} data sets, {len(self.workspace.rounds)} rounds of labels"
                )
            case ".quit" | ".exit":
                raise EOFError
            case _:
                raise ConfigError(f"expected .help, .views, .schema VIEW, .refresh or .quit, got {name}")


def _print_columns(views: list[ViewDescription], *names: str) -> None:
    chosen = [view for view in views if view.name in names]
    if not chosen:
        raise ConfigError(
            f"expected .schema VIEW, got {' '.join(names) or 'none'}; they are {', '.join(VIEWS)}"
        )
    for view in chosen:
        print_view(view)


def _complete_names(views: list[ViewDescription]) -> None:
    """Let Tab complete views, columns and commands, where the machine has readline."""
    try:
        import readline
    except ImportError:
        return
    columns = {column for view in views for column, _ in view.columns}
    names = sorted({*VIEWS, *columns, ".help", ".views", ".schema", ".refresh", ".quit"})

    def complete(start: str, number: int) -> str | None:
        matching = [name for name in names if name.startswith(start)]
        return matching[number] if number < len(matching) else None

    readline.set_completer_delims(" \t\n,()=<>;")
    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")
