"""WELS-Net matches Table 1, and its receptive field is that of sedkit.geometry."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sedkit import geometry
from sedkit.contract import Label
from training.networks.wels import Network, Stem, WelsNet, exempt_classes, multiply_adds, pool

TABLE_1 = [  # layer, output size for an input of 1 x 1024 x 64
    ("B1.0", (64, 1024, 64)),
    ("B1.1", (64, 1024, 64)),
    ("B1.2", (64, 256, 16)),
    ("B2.0", (128, 256, 16)),
    ("B2.1", (128, 256, 16)),
    ("B2.2", (128, 128, 8)),
    ("B3.0", (256, 128, 8)),
    ("B3.1", (256, 128, 8)),
    ("B3.2", (256, 64, 4)),
    ("B4.0", (512, 64, 4)),
    ("B4.1", (512, 64, 4)),
    ("B4.2", (512, 32, 2)),
    ("L1", (2048, 30, 1)),
    ("L2", (1024, 30, 1)),
    ("L3", (1024, 30, 1)),
    ("L4", (527, 30, 1)),
]


@pytest.fixture(scope="module")
def wels() -> WelsNet:
    return WelsNet(527).eval()


def test_layer_outputs_match_table_1(wels: WelsNet) -> None:
    sizes = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: sizes.update({name: tuple(out.shape[1:])}))
        for name, module in wels.named_modules()
        if name in dict(TABLE_1)
    ]
    with torch.no_grad():
        scores = pool(wels(torch.zeros(1, 1, 1024, 64)))
    for hook in hooks:
        hook.remove()
    assert [(name, sizes[name]) for name, _ in TABLE_1] == TABLE_1
    assert scores.segments.shape == (1, 30, 527)
    assert scores.clip.shape == (1, 527)
    assert scores.embedding.shape == (1, 30, 1024)


def test_kernels_padding_and_biases_match_table_1(wels: WelsNet) -> None:
    convolutions = [m for m in wels.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [c.kernel_size for c in convolutions] == [(3, 3)] * 8 + [(3, 2)] + [(1, 1)] * 3
    assert [c.padding for c in convolutions] == [(1, 1)] * 8 + [(0, 0)] * 4
    assert all(c.stride == (1, 1) for c in convolutions)
    assert [c.bias is not None for c in convolutions] == [False] * 11 + [True]
    assert [m.kernel_size for m in wels.modules() if isinstance(m, torch.nn.MaxPool2d)] == [4, 2, 2, 2]


def test_parameter_count_matches_table_1(wels: WelsNet) -> None:
    assert sum(p.numel() for p in wels.parameters()) == 14_671_695


def test_width_scales_filters_but_not_the_embedding() -> None:
    small = WelsNet(52, width=0.25)
    assert small.B1[0][0].out_channels == 16
    assert small.L1[0].out_channels == 512
    assert small.L3[0].out_channels == 1024


def test_clip_scores_are_the_mean_of_segment_scores() -> None:
    torch.manual_seed(0)
    scores = pool(WelsNet(5, width=1 / 16).eval()(torch.randn(2, 1, 320, 64)))
    assert scores.segments.min() > 0
    assert scores.segments.max() < 1
    torch.testing.assert_close(scores.clip, scores.segments.mean(1))


@pytest.mark.parametrize("stem", ["full", "patches"])
@pytest.mark.parametrize("k", [0, 3, 9])
def test_receptive_field_of_a_segment(k: int, stem: Stem) -> None:
    # ReLU and max pooling would hide some frames. With linear activations and average pooling, every frame of the
    # receptive field has a gradient.
    torch.manual_seed(k)
    wels = WelsNet(3, width=1 / 16, stem=stem).double().eval()
    for module in list(wels.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.ReLU):
                setattr(module, name, torch.nn.Identity())
            elif isinstance(child, torch.nn.MaxPool2d):
                setattr(module, name, torch.nn.AvgPool2d(child.kernel_size))
    logmel = torch.randn(1, 1, 512, 64, dtype=torch.float64, requires_grad=True)
    wels(logmel).logits[0, k].sum().backward()
    seen = np.flatnonzero(logmel.grad.abs().sum((0, 1, 3)).numpy())
    first = geometry.STEP_FRAMES * k - geometry.REACH
    last = geometry.STEP_FRAMES * k + geometry.SPAN_FRAMES + geometry.REACH - 1
    assert (first, last) == (32 * k - 58, 32 * k + 153)
    assert (seen[0], seen[-1]) == (max(0, first), min(511, last))
    assert len(seen) == seen[-1] - seen[0] + 1


@pytest.mark.parametrize("samples", [1, 159, 5_120, 15_360, 15_361, 80_000, 160_000, 163_840])
def test_number_of_segments_matches_geometry(samples: int) -> None:
    network = Network(2, width=1 / 16).eval()
    with torch.no_grad():
        scores = network(torch.zeros(1, samples))
    assert scores.segments.shape == (1, geometry.segment_count(samples), 2)


def test_multiply_adds_match_table_1() -> None:
    """Output positions of each layer times its weights."""
    blocks = zip((1, 64, 128, 256), (64, 128, 256, 512), (1024 * 64, 256 * 16, 128 * 8, 64 * 4), strict=True)
    convolutions = sum(positions * 9 * (one + other) * other for one, other, positions in blocks)
    last = 30 * (512 * 6 * 2048 + 2048 * 1024 + 1024 * 1024 + 1024 * 527)
    assert multiply_adds(527, 1.0) == convolutions + last


def test_patches_quarter_the_arithmetic_of_the_first_block() -> None:
    filters = [16, 40, 80, 200, 1024, 512]
    saved = multiply_adds(527, filters) - multiply_adds(527, filters, stem="patches")
    assert saved == 1024 * 64 * 16 * 9 * (1 + 16) - 512 * 32 * 16 * (4 + 9 * 16)


def test_width_may_be_a_list_of_filters() -> None:
    assert multiply_adds(527, [64, 128, 256, 512, 2048, 1024]) == multiply_adds(527, 1.0)
    network = WelsNet(3, [4, 8, 12, 16, 20, 24]).eval()
    seen = [module.out_channels for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert seen == [4, 4, 8, 8, 12, 12, 16, 16, 20, 24, 1024, 3]
    assert network(torch.zeros(1, 1, 128, 64)).logits.shape == (1, 2, 3)


def test_ten_seconds_give_30_segments() -> None:
    assert geometry.segment_count(10 * geometry.SAMPLE_RATE) == 30
    assert geometry.segment_count(1024 * geometry.HOP) == 30


def test_silent_segments_score_zero_and_do_not_change_the_others() -> None:
    torch.manual_seed(0)
    network = Network(3, width=1 / 16).eval()
    sound = 0.1 * torch.randn(1, 5 * geometry.SEGMENT_SPAN)
    sound[:, -geometry.HOP :] = 0  # analysis windows extend a little beyond their hop
    mixed = torch.cat([sound, torch.zeros(1, 5 * geometry.SEGMENT_SPAN)], 1)
    with torch.no_grad():
        scores = network(mixed)
        audible = (scores.segments > 0).all(-1)[0]
        unmasked = pool(network.wels(network.frontend(mixed))).segments
    assert audible.tolist() == [True] * 15 + [False] * 13
    torch.testing.assert_close(scores.segments[:, :15], unmasked[:, :15])
    torch.testing.assert_close(scores.clip, scores.segments[:, :15].mean(1))


@pytest.mark.parametrize(("level", "audible"), [(-80, False), (-60, True)])
def test_level_below_which_noise_is_silent(level: int, audible: bool) -> None:
    torch.manual_seed(0)
    noise = 10 ** (level / 20) * torch.randn(1, 32_000)
    with torch.no_grad():
        assert bool((Network(2, width=1 / 16).eval()(noise).segments > 0).all()) is audible


def test_without_the_gate_the_clip_score_is_the_plain_mean_of_table_1() -> None:
    torch.manual_seed(0)
    gated, plain = Network(3, 1 / 16).eval(), Network(3, 1 / 16, gate=False).eval()
    plain.load_state_dict(gated.state_dict())
    half_silent = torch.cat([0.1 * torch.randn(1, 48_000), torch.zeros(1, 48_000)], 1)
    with torch.no_grad():
        expected, found = gated(half_silent), plain(half_silent)
    assert (found.segments > 0).all()
    torch.testing.assert_close(found.clip, found.segments.mean(1))
    assert not torch.equal(found.clip, expected.clip)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_the_heads_compute_in_float32_under_autocast(pooling: str) -> None:
    """In bfloat16, a logit near 8 would be a multiple of 0.03."""
    torch.manual_seed(0)
    wels = WelsNet(3, 1 / 16, pooling=pooling).eval()
    embedding = {}
    wels.L3.register_forward_hook(lambda _module, _input, output: embedding.update(x=output))
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            found = wels(torch.randn(2, 1, 96, 64))
        assert embedding["x"].dtype == torch.bfloat16
        exact = wels.L4(embedding["x"].float()).squeeze(-1).transpose(1, 2)
    assert found.logits.dtype == found.weights.dtype == torch.float32
    torch.testing.assert_close(found.logits, exact, rtol=0, atol=0)


def test_silent_segments_count_for_the_class_silence() -> None:
    labels = [Label("Dog", "/m/0bt9lr"), Label("Silence", "/m/028v0c")]
    torch.manual_seed(0)
    network = Network(2, width=1 / 16).eval()
    sound = 0.1 * torch.randn(1, 80_000)
    sound[:, 40_000:] = 0
    with torch.no_grad():
        gated = network(sound)
        network.load_state_dict(network.state_dict() | {"exempt": exempt_classes(labels)})
        scores = network(sound)
    assert torch.equal(scores.segments[..., 0], gated.segments[..., 0])
    assert torch.equal(scores.clip[:, 0], gated.clip[:, 0])
    assert scores.segments[0, -1, 0] == 0 < scores.segments[0, -1, 1]
    torch.testing.assert_close(scores.clip[:, 1], scores.segments[..., 1].mean(1))
    old = {name: value for name, value in network.state_dict().items() if name != "exempt"}
    network.load_state_dict(old)  # as of a file made before there was an exemption
    assert not network.exempt.any()
