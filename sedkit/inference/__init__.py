"""One ONNX model over recordings of any length."""
