"""The one kind of error that is a sentence for the user, and how a command ends on it."""

import functools
import sys
from collections.abc import Callable, Iterable, Sequence


class UserError(ValueError):
    """Something the user can put right; its message says the rule, the value, the choices and what to do."""


def one_of(what: str, value: object, choices: Iterable[object]) -> None:
    """Raise `UserError` unless `value` is one of `choices`."""
    names = list(choices)
    if value not in names:
        raise UserError(f"{what} must be one of {names}, got {value!r}")


def command(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Make a `main(argv)` print a `UserError` as one line on stderr and return 2, and return 130 on Ctrl-C."""

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        try:
            return main(argv)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except OSError as error:  # a full disk, a folder that may not be written: the system's own sentence names it
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    return wrapped
