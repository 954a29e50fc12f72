"""Where the segments of WELS-Net lie in a recording: the one statement of the geometry.

A *frame* is one log-mel column. Frame ``t`` owns the samples ``[160 t, 160 (t + 1))`` and is
analysed with a 256-sample window centred on them, so ``160 T`` samples make ``T`` frames.

The pools of blocks B1-B4 divide time by 4 * 2 * 2 * 2 = 32, and layer L1 looks at 3 of the
remaining steps at once. Hence segment ``k`` has the nominal span of frames
``[32 k, 32 k + 96)``: 0.96 s, one every 0.32 s. The 3 x 3 convolutions make the network see
further than that span: frames ``32 k - 58`` to ``32 k + 153``, both included (212 frames).

A recording is padded with zeros to whole steps of 32 frames, and to one whole segment at least,
so that 10 s give K = 30 as in the paper and anything gives K >= 1.
"""

from __future__ import annotations

SAMPLE_RATE = 16_000  # Hz
HOP = 160  # samples between frames: 10 ms
WINDOW = 256  # samples under the analysis window: 16 ms
WINDOW_MARGIN = (WINDOW - HOP) // 2  # samples of window on either side of the hop it is centred on

STEP_FRAMES = 32  # frames between segments
SPAN_FRAMES = 96  # frames of a segment's nominal span
REACH = 58  # frames seen before the nominal start, and as many after the nominal end
RECEPTIVE_FRAMES = SPAN_FRAMES + 2 * REACH  # 212

SEGMENT_HOP = STEP_FRAMES * HOP  # 5120 samples, 0.32 s
SEGMENT_SPAN = SPAN_FRAMES * HOP  # 15360 samples, 0.96 s
RECEPTIVE_FIELD = RECEPTIVE_FRAMES * HOP + 2 * WINDOW_MARGIN  # samples


def padded_samples(samples: int) -> int:
    """Length of a recording of ``samples`` samples after padding to whole segment hops.

    Raises
    ------
    ValueError
        If ``samples`` is negative.
    """
    if samples < 0:
        raise ValueError(f"a recording cannot have {samples} samples")
    return max(SEGMENT_SPAN, -(-samples // SEGMENT_HOP) * SEGMENT_HOP)


def segment_count(samples: int) -> int:
    """K, the number of segments of a recording of ``samples`` samples: at least 1."""
    return padded_samples(samples) // SEGMENT_HOP - (SPAN_FRAMES // STEP_FRAMES - 1)
