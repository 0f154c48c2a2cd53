"""Errors that a user can mend, as distinct from faults of this program."""


class UserError(ValueError):
    """Something that the user did wrong and can mend.

    Its message is one sentence, or two, that say what is wrong and what to do. Commands print it without a traceback;
    every other exception is a fault of the program and keeps its traceback.
    """
