"""Measures: event-based scores, thresholds, calibration error, bootstrap intervals."""
