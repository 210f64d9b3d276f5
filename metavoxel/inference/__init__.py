"""Questions to a trained model: from a user's cells to evidence, and from codes to tables."""
