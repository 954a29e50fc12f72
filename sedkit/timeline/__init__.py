"""Segment scores to cells, events and tags."""
