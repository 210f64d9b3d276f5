"""The local web page: FastAPI, on this machine alone, with no request elsewhere."""

import importlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from metavoxel.errors import CohortError, Problem
from metavoxel.preparation.qa.decisions import Decisions
from metavoxel.preparation.qa.scans import agreements, scans_worst_first

HOSTS = ["127.0.0.1", "localhost"]
"""Names by which the page may be asked for: another site's name that resolves to this machine is refused."""


_EMPTY = ("n/a", "nan")


class Choice(BaseModel):
    """A decision as sent by the page; ``decision`` null removes the rater's decision."""

    model_config = ConfigDict(extra="forbid")

    scan: str
    rater: str
    decision: Literal["keep", "drop", "flag"] | None
    note: str = Field("", max_length=1000)

    @field_validator("rater")
    @classmethod
    def _can_be_a_cell(cls, rater: str) -> str:
        """A name that a table gives back as it is."""
        if not 1 <= len(rater) <= 60 or not rater.isprintable() or '"' in rater or rater.strip() != rater:
            raise ValueError(
                f'{rater!r} must be 1 to 60 letters, digits, spaces or signs other than ", none at its ends a space'
            )
        if rater.lower() in _EMPTY:
            raise ValueError(f"{rater!r} means an empty cell in a table; enter another name")
        return rater


def make_app(derivative: Path):  # type: ignore[no-untyped-def]  # FastAPI is optional
    """Build the application of one derivative.

    Raises:
        CohortError: FastAPI is missing, no prepared scan, no pictures, or a damaged table of decisions.
    """
    try:
        fastapi, statics = importlib.import_module("fastapi"), importlib.import_module("fastapi.staticfiles")
        hosts = importlib.import_module("starlette.middleware.trustedhost")
        responses = importlib.import_module("fastapi.responses")
    except ImportError as error:
        raise CohortError(Problem("metavoxel qa", 'needs FastAPI: pip install "metavoxel[serve]"')) from error
    rows = {row.name: row for row in scans_worst_first(derivative)}
    if not (derivative / "figures").is_dir():
        what = (
            "no such folder, and the page shows its pictures. Copy it with the derivative, or repeat metavoxel prepare"
        )
        raise CohortError(Problem(str(derivative / "figures"), what))
    decisions = Decisions(derivative)
    decisions.read()
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(hosts.TrustedHostMiddleware, allowed_hosts=HOSTS)
    page = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")

    @app.exception_handler(CohortError)  # type: ignore[untyped-decorator]
    def refused(request: Any, error: CohortError):  # type: ignore[no-untyped-def]
        return responses.JSONResponse({"detail": str(error)}, status_code=409)

    @app.get("/")
    def index():  # type: ignore[no-untyped-def]
        return responses.HTMLResponse(page, headers={"Content-Security-Policy": "default-src 'self' 'unsafe-inline'"})

    @app.get("/scans")  # type: ignore[untyped-decorator]
    def scans() -> dict[str, Any]:
        made = decisions.read()
        by_name: dict[str, list[dict[str, str]]] = {}
        for one in made:
            name = "_".join(filter(None, (one.participant_id, one.session_id)))
            outdated = name in rows and rows[name].output != one.output
            by_name.setdefault(name, []).append({**one._asdict(), "outdated": "yes" if outdated else ""})
        listed = [
            {**row._asdict(), "quality": row.quality._asdict(), "decisions": by_name.get(row.name, [])}
            for row in rows.values()
        ]
        return {"scans": listed, "agreement": [one._asdict() for one in agreements(made)]}

    @app.post("/decisions")  # type: ignore[untyped-decorator]
    def decide(choice: Choice) -> dict[str, str]:
        row = rows.get(choice.scan)
        if row is None:
            raise fastapi.HTTPException(404, f"no scan {choice.scan!r}")
        scan = (row.subject, row.session)
        decisions.record(scan, row.output, choice.rater, choice.decision, choice.note)
        return {"written": str(decisions.path)}

    app.mount("/figures", statics.StaticFiles(directory=derivative / "figures"))
    return app


def serve(derivative: Path, *, port: int, ready: Callable[[], None] = lambda: None) -> None:
    """Serve the page on this machine until interrupted; ``ready`` is called once the port is taken.

    Raises:
        CohortError: FastAPI or uvicorn is missing, no prepared scan, no pictures, a damaged table of
            decisions, or a port that cannot be used.
    """
    app = make_app(derivative)
    try:
        uvicorn = importlib.import_module("uvicorn")
    except ImportError as error:
        raise CohortError(Problem("metavoxel qa", 'needs uvicorn: pip install "metavoxel[serve]"')) from error
    with _listening(port) as listener:
        ready()
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((HOSTS[0], port))
    except OSError as error:
        what = f"cannot be used on this machine ({error.strerror}); choose another, for example `port={_free_port()}`"
        raise CohortError(Problem(f"`port={port}`", what)) from error


def _free_port() -> int:
    with socket.create_server((HOSTS[0], 0)) as free:
        return int(free.getsockname()[1])
