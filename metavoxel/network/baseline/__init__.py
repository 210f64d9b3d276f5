"""The Gaussian baseline: predictions in closed form from a Gaussian, or a mixture, over the features of all variables."""
