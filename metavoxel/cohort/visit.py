"""Visit: the unit by which BIDS images and tables are joined."""

from typing import NamedTuple

SUBJECT = "participant_id"
SESSION = "session_id"
UNKNOWN = ("", "n/a")
"""Missing cells, by the BIDS specification."""


class Visit(NamedTuple):
    """A subject and its session, both with their prefix; without sessions the second is empty."""

    subject: str
    session: str

    def __str__(self) -> str:
        return f"{self.subject} {self.session}".rstrip()
