"""From a trained network to a published model: ONNX export, calibration, int8 quantization, model card."""
