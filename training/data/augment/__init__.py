"""Augmentation, mixtures, noise."""
