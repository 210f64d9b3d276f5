"""The local web page: FastAPI, on this machine alone, with no request elsewhere."""

import importlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from metavoxel.errors import CohortError, Problem
from metavoxel.preparation.qa.decisions import Decisions
from metavoxel.preparation.qa.scans import agreements, scans_worst_first

HOSTS = ["127.0.0.1", "localhost"]
"""Names by which the page may be asked for: another site's name that resolves to this machine is refused."""


class Choice(BaseModel):
    """A decision as sent by the page; ``decision`` null removes the rater's decision."""

    model_config = ConfigDict(extra="forbid")

    scan: str
    rater: str = Field(min_length=1, max_length=60, pattern=r"^[^\t\r\n\"]+$")
    decision: Literal["keep", "drop", "flag"] | None
    note: str = Field("", max_length=1000)


def make_app(derivative: Path):  # type: ignore[no-untyped-def]  # FastAPI is optional
    """Build the application of one derivative.

    Raises:
        CohortError: FastAPI is missing, or the folder has no prepared scan.
    """
    try:
        fastapi, statics = importlib.import_module("fastapi"), importlib.import_module("fastapi.staticfiles")
        hosts = importlib.import_module("starlette.middleware.trustedhost")
        responses = importlib.import_module("fastapi.responses")
    except ImportError as error:
        raise CohortError(Problem("metavoxel qa", 'needs FastAPI: pip install "metavoxel[serve]"')) from error
    rows = {row.name: row for row in scans_worst_first(derivative)} if derivative.is_dir() else {}
    if not rows:
        what = "has no prepared scan: it must be a derivative of metavoxel prepare"
        raise CohortError(Problem(str(derivative), what))
    decisions = Decisions(derivative)
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(hosts.TrustedHostMiddleware, allowed_hosts=HOSTS)
    page = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")

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


def serve(derivative: Path, *, port: int) -> None:
    """Serve the page on this machine until interrupted.

    Raises:
        CohortError: FastAPI or uvicorn is missing, or the folder has no prepared scan.
    """
    app = make_app(derivative)
    try:
        uvicorn = importlib.import_module("uvicorn")
    except ImportError as error:
        raise CohortError(Problem("metavoxel qa", 'needs uvicorn: pip install "metavoxel[serve]"')) from error
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
