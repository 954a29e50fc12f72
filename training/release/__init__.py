"""From a trained network to a published model: export, int8, calibration, model cards."""
