"""Errors that end in one message: the input is wrong, or something failed during a run."""

from collections.abc import Iterable


class InputError(Exception):
    """Bad input: a config, dataset, weight file, checkpoint or run folder that cannot be used.

    The message names the path or key, the value, what was expected and the next step. The command line prints it
    without a traceback and exits with code 2.
    """


class RunError(Exception):
    """Something outside failed while it ran: a full disk, a lost folder, a killed process.

    The message says what is needed. The command line prints it without a traceback and exits with code 1.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the known word closest to `word`, or an empty string."""
    import difflib

    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{match[0]}'?" if match else ""
