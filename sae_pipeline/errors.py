"""The one exception that means "the user can mend this"."""


class UserError(Exception):
    """A bad input. The message is one sentence: what is wrong and what to do.

    Programs print it without a traceback and exit with code 2.
    """

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the sentence alone."""
        return [f"error: {self}"]


class ResourceError(UserError):
    """A disk or a memory that is too small. What was done is kept: the same command goes on from there."""
