"""Speed and memory of inference, as ratios against peers and against the machine's own limit.

``python -m benchmarks`` measures and prints; docs/benchmarks.md says how to read it.
"""
