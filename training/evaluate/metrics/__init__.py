"""Metrics: event decoding at many thresholds, calibration error."""
