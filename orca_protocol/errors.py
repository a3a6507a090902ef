"""The error tree of the whole project.

    OrcaError(code, detail)
    ├─ InvalidError       what we were given is wrong   HTTP 4xx      audit: mismatch       never retried
    ├─ UnavailableError   the world did not answer      HTTP 503      audit: not_measured   retried
    └─ LimitError         a budget was spent            HTTP 413/429  ends the run; the partial record is kept

``code`` is stable, lower_snake and meant for programs; ``detail`` is one sentence for a person that says what
was wrong, where, and what to do. Mistakes of our own stay ``RuntimeError``/``TypeError`` and are caught only at
the outermost loop.
"""

from __future__ import annotations


class OrcaError(Exception):
    """Something went wrong that a user, a peer or the world caused; never raised as such, only its subclasses."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail

    def __reduce__(self) -> tuple[type[OrcaError], tuple[str, str]]:
        return (type(self), (self.code, self.detail))


class InvalidError(OrcaError):
    """What we were given is wrong. Trying again with the same input cannot help."""


class UnavailableError(OrcaError):
    """The world did not answer. Trying again may help; ``retry_after`` (seconds) is the world's own wish, if it said one."""

    def __init__(self, code: str, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(code, detail)
        self.retry_after = retry_after


class LimitError(OrcaError):
    """A budget or a size limit was reached. What was done until then is kept.

    ``retry_after`` (seconds): when there will be room again, where that is known.
    """

    def __init__(self, code: str, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(code, detail)
        self.retry_after = retry_after
