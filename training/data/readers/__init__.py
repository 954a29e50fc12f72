"""Readers that turn data sets on disk into manifests: one module for each data set."""
