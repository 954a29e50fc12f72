"""Speed and memory of inference, relative to other networks and to the machine's limit.

``python -m benchmarks`` measures and prints a table; docs/benchmarks.md explains it. Some of the processes that it
starts import ONNX Runtime by themselves, so the telemetry is switched off here (see sedkit.inference.onnx_runtime).
They may write compiled modules: an installed sedkit has them, and compiling them takes 100 ms.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
