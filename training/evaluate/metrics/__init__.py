"""Metrics: PSDS and F1 against strong labels, event decoding, calibration error, bootstrap intervals."""
