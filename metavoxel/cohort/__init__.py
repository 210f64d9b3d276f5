"""Cohorts: reading tables and BIDS folders, splitting subjects, parsing variables. No model code."""
