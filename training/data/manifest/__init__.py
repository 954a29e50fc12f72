"""The manifest: one row a clip, in columns."""
