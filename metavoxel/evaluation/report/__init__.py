"""The evaluation as tables, figures and a page."""
