"""The joint network: predictions of every variable from all of them, on top of a Gaussian baseline in closed form."""
