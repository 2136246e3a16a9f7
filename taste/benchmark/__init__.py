"""What the recipe's costly parts take, beside what one would otherwise run for the same work."""
