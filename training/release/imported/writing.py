"""Imported network → ONNX file that fulfils sedkit's contract.

The file is written only if ``onnx.checker`` accepts it, its metadata reads back, and ONNX Runtime and torch agree on
generated sounds. Weights stay float32, unless float16 holds them without loss, as it does YAMNet's whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sedkit import contract
from sedkit.contract import Contract, Label
from sedkit.geometry import Geometry
from sedkit.model_file import with_digest
from training.networks.float16 import with_float16_weights
from training.release.export import TOLERANCE, graph_of
from training.release.imported.checkpoint import ImportModelError
from training.release.imported.segmenting import Segmenting
from training.runtime.files import replacing

CLIP = 10.0  # seconds: AudioSet's clips
THRESHOLD = 0.5  # of every class, since none were chosen
SOUNDS = (0.3, 2.7, 11.0)  # seconds of generated sound for the check
RARE = 0.002  # share of the scores that may differ: rounding may meet another integer of an 8-bit network


def describe(
    name: str, labels: tuple[Label, ...], geometry: Geometry, licence: str, source: Mapping[str, Any]
) -> Contract:
    """The metadata of an imported model: its thresholds are unknown, and its scores are not calibrated.

    Parameters
    ----------
    source : what was imported, for the lineage.
    """
    tag_segments = geometry.segment_count(round(CLIP * geometry.sample_rate))
    lineage = {"imported": dict(source), "thresholds": contract.UNKNOWN}
    thresholds = (THRESHOLD,) * len(labels)
    return Contract(
        name, labels, thresholds, {"kind": "none"}, lineage, licence, tag_segments=tag_segments, geometry=geometry
    )


def write(network: Segmenting, description: Contract, path: Path) -> None:
    """Write an imported network to ``path`` as a sedkit model.

    Raises
    ------
    ImportModelError
        If ONNX Runtime gives other scores than torch. Nothing is written.
    OutputError
        If the file cannot be written.
    """
    network = network.eval()
    model = graph_of(network, contract.OUTPUTS, round(CLIP * network.geometry.sample_rate))
    onnx.helper.set_model_props(model, description.to_metadata())
    if all(torch.equal(layer.half().float(), layer) for layer in convolutions(network)):
        model = with_float16_weights(model)
    onnx.checker.check_model(model)
    serialized = with_digest(model.SerializeToString(deterministic=True))
    share = differing(network, serialized)
    if share > RARE:
        raise ImportModelError(
            f"{path}: not written: of the scores, {share:.2%} differ by more than {TOLERANCE:g} from those of torch"
        )
    with replacing(path) as temporary:
        temporary.write_bytes(serialized)


def convolutions(network: nn.Module) -> Iterator[Tensor]:
    """The weights of a network's convolutions."""
    return (tensor for tensor in (*network.parameters(), *network.buffers()) if tensor.ndim == 4)


def differing(network: Segmenting, serialized: bytes) -> float:
    """Share of the scores of generated sounds that differ between ONNX Runtime and torch; NaN counts as differing."""
    from sedkit.inference.onnx_runtime import onnxruntime

    session = onnxruntime.InferenceSession(serialized, providers=["CPUExecutionProvider"])
    description = Contract.from_metadata(session.get_modelmeta().custom_metadata_map)
    contract.check_tensors(
        {value.name: value.shape for value in session.get_inputs()},
        {value.name: value.shape for value in session.get_outputs()},
        len(description.labels),
    )
    differences = []
    for seconds in SOUNDS:
        sounds = generated(round(seconds * network.geometry.sample_rate), network.geometry.sample_rate)
        (scores,) = session.run(["segments"], {contract.INPUT: sounds})
        with torch.no_grad():
            expected = network(torch.from_numpy(sounds)).segments.numpy()
        if scores.shape != expected.shape:
            return 1.0
        differences.append(~(np.abs(scores - expected) <= TOLERANCE).ravel())
    return float(np.concatenate(differences).mean())


def generated(samples: int, rate: int) -> NDArray[np.float32]:
    """Two sounds [2, samples]: noise whose level rises and falls, and a rising tone."""
    random = np.random.default_rng(samples)
    time = np.arange(samples) / rate
    level = 10 ** (-1.5 + np.sin(2 * np.pi * 1.3 * time))
    noise = level * random.standard_normal(samples)
    tone = 0.3 * np.sin(2 * np.pi * (300 * time + 200 * time**2)) + 1e-3 * random.standard_normal(samples)
    return np.stack([noise, tone]).clip(-1, 1).astype(np.float32)
