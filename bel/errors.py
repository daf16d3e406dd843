"""The one kind of error that is a sentence for the user, and how a command ends on it."""

import errno
import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence

from bel.mlflow_store import explain
from bel.text import harmless, harmless_output

# Of an address: who may read it, and the parameters that are keys to it.
CREDENTIALS = re.compile(
    r"(?<=://)[^\s/]+@|(?i:[?&](?:[\w-]*(?:pass|secret|token|key|sig|credential)[\w-]*)=(?:[^&\s'\":]|:(?=\S))*)"
)
LONGEST = 2000  # characters of a message


NO_PERMISSION = ": work in a folder that may be written, or name one by the option or the variable that it is of"
NO_ROOM = ": make room there, or name another folder"
ADVICE = dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), NO_PERMISSION) | dict.fromkeys(
    (errno.ENOSPC, errno.EDQUOT), NO_ROOM
)  # by the system's number of an error


class UserError(ValueError):
    """Something the user can put right; its message says the rule, the value, the choices and what to do."""


class Diverged(UserError):  # noqa: N818 - it names what became of a trial
    """A training whose loss or validation error is not finite any more: it has ended, and can be judged the worst."""


def shown(text: object) -> str:
    """A text without the names and passwords in its addresses, and without its middle where it is very long."""
    found = CREDENTIALS.sub("", str(text))
    return found if len(found) <= LONGEST else f"{found[: LONGEST - 500]} [...] {found[-500:]}"


def sentence(error: BaseException) -> str:
    """One line that says what went wrong: a `UserError`'s own text, else the type and the first line of the message."""
    lines = shown(error).split("\n")
    if isinstance(error, UserError):
        return " ".join(line.strip() for line in lines)
    first = next((line.strip() for line in lines if line.strip()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def one_of(what: str, value: object, choices: Iterable[object]) -> None:
    """Raise `UserError` unless `value` is one of `choices`."""
    names = list(choices)
    if value not in names:
        raise UserError(f"{what} must be one of {names}, got {value!r}")


def command(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Make a `main(argv)` print a `UserError` as one line on stderr and return 2; 130 on Ctrl-C, 141 on a closed pipe."""

    @functools.wraps(main)
    @harmless_output()
    def wrapped(argv: Sequence[str] | None = None) -> int:
        try:
            return main(argv)
        except UserError as error:
            print(f"error: {harmless(sentence(error))}", file=sys.stderr)
            return 2
        except BrokenPipeError:  # the reader has seen enough, as head does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes when it ends
            return 141
        except OSError as error:  # a full disk, a folder that may not be written: the system's own sentence names it
            advice = ADVICE.get(error.errno or 0, "")
            print(f"error: {harmless(shown(explain(error) or error))}{advice}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        except Exception as error:
            if (said := explain(error)) is None:
                raise
            print(f"error: MLflow's store: {harmless(shown(said))}", file=sys.stderr)
            return 2

    return wrapped
