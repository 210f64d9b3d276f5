"""The joint network: every variable predicted from all of them, on top of a Gaussian baseline in closed form."""
