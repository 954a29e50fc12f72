"""Training of one network: batches, objective, optimiser, epochs."""
