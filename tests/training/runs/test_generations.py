"""What the front end of a run normalises with."""

from __future__ import annotations

import numpy as np
import torch

from training.networks.wels import Network
from training.runs.generations import measure_normalisation


def test_normalisation_gives_zero_mean_and_unit_deviation_on_what_it_was_measured_on() -> None:
    network = Network(2, width=1 / 16)
    random = np.random.default_rng(0)
    clips = [(3000 * random.uniform(0.001, 1) * random.standard_normal(32_000)).astype(np.int16) for _ in range(4)]
    measure_normalisation(network, clips)
    normalised = torch.cat([network.frontend(torch.from_numpy(c / np.float32(32768))[None])[0, 0, 1:-4] for c in clips])
    assert normalised.mean(0).abs().max() < 0.1
    assert (normalised.std(0) - 1).abs().max() < 0.15


def test_normalisation_of_silence_does_not_blow_up() -> None:
    network = Network(2, width=1 / 16)
    measure_normalisation(network, [np.zeros(16_000, np.int16)])
    torch.testing.assert_close(network.frontend.std, torch.ones(64))
