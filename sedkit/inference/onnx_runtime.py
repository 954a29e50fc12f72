"""ONNX Runtime without its telemetry. The rest of the project imports it from here, and from nowhere else::

    from sedkit.inference.onnx_runtime import onnxruntime

Official builds since 1.29 send usage data. On Linux and macOS, importing one writes a device identity and a database
of events to ``~/.cache/Microsoft``, and starts a thread that uploads the events after a few seconds.
``ORT_DISABLE_TELEMETRY=1`` prevents all three, if it is set before the import. On Windows, only
``disable_telemetry_events()`` has an effect.

A variable that is already set is not changed: ``ORT_DISABLE_TELEMETRY=0`` leaves the telemetry on.

Source: https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md
"""

import os

VARIABLE = "ORT_DISABLE_TELEMETRY"
TRUE = ("1", "true", "yes", "on", "y")  # the values for which ONNX Runtime is silent

os.environ.setdefault(VARIABLE, "1")

import onnxruntime as onnxruntime  # noqa: E402

if os.environ[VARIABLE].strip().lower() in TRUE:
    onnxruntime.disable_telemetry_events()
