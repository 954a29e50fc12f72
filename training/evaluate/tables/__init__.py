"""Tables and figures, and the loaders of the results that they show."""
