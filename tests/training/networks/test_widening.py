"""A wider network that computes the same scores as a narrower one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner

from tests.training.conftest import SMALL
from training.networks.wels import Network, resolve_filters
from training.networks.widening import can_widen, widen
from training.runtime.checkpoint import load
from training.secost import main

NARROW, WIDE = [2, 3, 4, 5, 8, 6], [4, 3, 6, 9, 20, 7]


def network(filters: list[int]) -> Network:
    """A network in eval mode whose weights and batch norms are random."""
    torch.manual_seed(0)
    made = Network(5, filters)
    for name, value in made.wels.state_dict().items():
        if value.is_floating_point() and value.ndim == 1:
            value.copy_(torch.rand_like(value) + 0.5 if "weight" in name or "var" in name else torch.randn_like(value))
    return made.eval()


def test_the_wider_network_computes_the_same_scores():
    narrow, wide = network(NARROW), Network(5, WIDE).eval()
    wide.load_state_dict(widen(narrow.state_dict(), WIDE, np.random.default_rng(0)))
    waveform = torch.randn(2, 32_000)
    with torch.no_grad():
        torch.testing.assert_close(wide(waveform).segments, narrow(waveform).segments, rtol=1e-4, atol=1e-5)


def test_copies_of_a_filter_get_different_gradients():
    wide = Network(5, WIDE)
    wide.load_state_dict(widen(network(NARROW).state_dict(), WIDE, np.random.default_rng(0)))
    wide(torch.randn(2, 32_000)).clip.sum().backward()
    gradient = wide.wels.L1[0].weight.grad.flatten(1)  # type: ignore[union-attr]
    assert len({tuple(row.tolist()) for row in gradient}) == WIDE[4]


def test_no_layer_may_become_narrower():
    assert can_widen(NARROW, WIDE)
    assert not can_widen(NARROW, [1, *WIDE[1:]])


def test_a_run_starts_from_a_widened_model(run: Path, small_manifest: Path, tmp_path: Path):
    """``--width`` beside ``--fine-tune wels=`` widens the warm start; fewer filters are refused."""
    filters = resolve_filters(float(SMALL[1]))
    wider = ",".join(str(count + 1) for count in filters)
    start = ["--manifest", str(small_manifest), "--fine-tune", f"wels={run}", "--stages", "0", "--stop-after", "0s"]
    result = CliRunner().invoke(main, [*start, "--width", wider, "--run", str(tmp_path / "wide")])
    assert "stopped in time" in result.output, result.output
    assert len(load(tmp_path / "wide" / "begun.pt")["wels.L1.0.weight"]) == filters[4] + 1
    narrower = CliRunner().invoke(main, [*start, "--width", "1,1,1,1,1,1", "--run", str(tmp_path / "narrow")])
    assert f"the warm start has {','.join(map(str, filters))} filters; give at least as many" in narrower.output
