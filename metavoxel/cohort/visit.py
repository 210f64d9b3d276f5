"""Who is seen when: the unit that BIDS images and tables are joined by."""

from typing import NamedTuple

SUBJECT = "participant_id"
SESSION = "session_id"
UNKNOWN = ("", "n/a")
"""Cells without a value, by the BIDS specification."""


class Visit(NamedTuple):
    """A subject's session, both with their prefix; without sessions the second is empty."""

    subject: str
    session: str

    def __str__(self) -> str:
        return f"{self.subject} {self.session}".rstrip()
