"""How well systems foresee units, what they say by themselves, and how sure the figures are."""
