"""Phantom reports: pictures of simulated heads, and reports of a grammar that describe their generating factors."""

from metavoxel.cohort.phantoms.reports.folder import ReportTruth, read_report_truth, write_report_phantom
from metavoxel.cohort.phantoms.reports.grammar import Report, draw_report, parse_report, report_logp
from metavoxel.cohort.phantoms.reports.heads import Facts, Head, Lesion
from metavoxel.cohort.phantoms.reports.posterior import ReportBounds, age_posterior, report_bounds
from metavoxel.cohort.phantoms.reports.reader import Reading, read_picture
from metavoxel.cohort.phantoms.reports.schema import write_report_schema
from metavoxel.cohort.phantoms.reports.settings import ReportSettings, report_settings

__all__ = [
    "Facts",
    "Head",
    "Lesion",
    "Reading",
    "Report",
    "ReportBounds",
    "ReportSettings",
    "ReportTruth",
    "age_posterior",
    "draw_report",
    "parse_report",
    "read_picture",
    "read_report_truth",
    "report_bounds",
    "report_logp",
    "report_settings",
    "write_report_phantom",
    "write_report_schema",
]
