"""Speed and memory of inference, relative to other networks and to the machine's limit.

``python -m benchmarks`` measures and prints a table; docs/benchmarks.md explains it.
"""
