"""Manifests: data sets as one row per clip, held in columns. See training.data.manifest.table."""
