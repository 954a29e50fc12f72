"""Training of sound event detectors.

torch.onnx imports ONNX Runtime by itself, so the telemetry is switched off here (see sedkit.inference.onnx_runtime).
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
