"""Training: from a schema and a cohort to a run folder."""
