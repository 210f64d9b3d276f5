"""The Gaussian baseline: closed-form predictions from a Gaussian, or a mixture, over the features of all variables."""
