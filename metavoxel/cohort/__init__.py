"""Cohorts: tables and BIDS folders, their split into parts, and the values of their variables. No model code."""
