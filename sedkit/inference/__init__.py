"""Running a model: over one recording of any length, or over many in parallel.

``model``        one ONNX graph; cuts recordings into pieces and returns segment scores
``embedding``    the same graph, for embeddings in place of scores
``pipeline``     many recordings through one model: decoding and inference overlap
``schedule``     the pipeline's rules: which task comes next
``cpus``         CPUs that this process may use
``session``      ONNX Runtime: execution provider, threads, messages about missing libraries
``onnx_runtime`` the import of ONNX Runtime, with its telemetry off
``graph_cache``  optimised graphs on disk, which make the next start faster
``installed``    the models that come with sedkit, by name and precision
"""
