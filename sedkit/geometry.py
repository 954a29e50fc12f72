"""Position and length of WELS-Net's segments in a recording.

A *frame* is one log-mel column. Frame ``t`` covers the samples ``[160 t, 160 (t + 1))`` and is computed with a
256-sample window centred on them, so ``160 T`` samples make ``T`` frames.

The pooling layers of blocks B1-B4 divide time by 4 * 2 * 2 * 2 = 32, and layer L1 combines 3 of the remaining steps.
Segment ``k`` therefore spans the frames ``[32 k, 32 k + 96)``: 0.96 s, one segment every 0.32 s. Because of the 3 x 3
convolutions, its receptive field is wider: frames ``32 k - 58`` to ``32 k + 153`` inclusive (212 frames).

A recording is zero-padded to a multiple of 32 frames and to at least one segment: 10 s give K = 30 as in the paper, and
every recording gives K >= 1.
"""

from __future__ import annotations

SAMPLE_RATE = 16_000  # Hz
HOP = 160  # samples between frames: 10 ms
WINDOW = 256  # samples under the analysis window: 16 ms
WINDOW_MARGIN = (WINDOW - HOP) // 2  # samples by which the window extends beyond its hop on either side

STEP_FRAMES = 32  # frames between segments
SPAN_FRAMES = 96  # frames in a segment's nominal span
REACH = 58  # frames of the receptive field before the nominal span, and after it
RECEPTIVE_FRAMES = SPAN_FRAMES + 2 * REACH  # 212

SEGMENT_HOP = STEP_FRAMES * HOP  # 5120 samples, 0.32 s
SEGMENT_SPAN = SPAN_FRAMES * HOP  # 15360 samples, 0.96 s
RECEPTIVE_FIELD = RECEPTIVE_FRAMES * HOP + 2 * WINDOW_MARGIN  # samples


def padded_samples(samples: int) -> int:
    """Length of a recording of ``samples`` samples after padding to a multiple of the segment hop.

    Raises
    ------
    ValueError
        If ``samples`` is negative.
    """
    if samples < 0:
        raise ValueError(f"samples must not be negative; got {samples} samples")
    return max(SEGMENT_SPAN, -(-samples // SEGMENT_HOP) * SEGMENT_HOP)


def segment_count(samples: int) -> int:
    """K, the number of segments of a recording of ``samples`` samples; at least 1."""
    return padded_samples(samples) // SEGMENT_HOP - (SPAN_FRAMES // STEP_FRAMES - 1)
