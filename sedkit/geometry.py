"""Position and length of a model's segments in a recording: :class:`Geometry`, read from the model's file.

Segment ``k`` spans the samples ``[hop k, hop k + span)``. Its scores may depend on ``margin`` more samples on either
side. A recording is zero-padded so that the last segment ends where the padding ends, and every recording has at least
one segment.

``WELS_NET`` is the geometry of WELS-Net, the network of the shipped models; the constants are its parts. A *frame* is
one log-mel column. Frame ``t`` covers the samples ``[160 t, 160 (t + 1))`` and is computed with a 256-sample window
centred on them, so ``160 T`` samples make ``T`` frames.

The pooling layers of blocks B1-B4 divide time by 4 * 2 * 2 * 2 = 32, and layer L1 combines 3 of the remaining steps.
Segment ``k`` therefore spans the frames ``[32 k, 32 k + 96)``: 0.96 s, one segment every 0.32 s. Because of the 3 x 3
convolutions, its receptive field is wider: frames ``32 k - 58`` to ``32 k + 153`` inclusive (212 frames). 10 s give
K = 30 as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

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

FRAMES_PER_SECOND = 100  # levels are measured in frames of 10 ms
LEVEL_FRAMES = 65  # on either side of a tile's edge, on which the level changes there depend
PIECE_SECONDS = 20.48  # of audio that is run at once; the widest WELS-Net takes 400 MB for it


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the segments of a model lie. All numbers are samples at ``sample_rate``.

    Attributes
    ----------
    sample_rate : Hz, of the model's input.
    segment_hop : from one segment to the next.
    segment_span : nominal span of a segment.
    receptive_field : that a segment's scores depend on, at most; it extends beyond the span equally on both sides.
    """

    sample_rate: int
    segment_hop: int
    segment_span: int
    receptive_field: int

    @property
    def step(self) -> float:
        """Seconds from one segment to the next."""
        return self.segment_hop / self.sample_rate

    @property
    def centre(self) -> float:
        """Centre of segment 0 in seconds."""
        return self.segment_span / 2 / self.sample_rate

    @property
    def frame(self) -> int:
        """Samples in 10 ms."""
        return self.sample_rate // FRAMES_PER_SECOND

    @property
    def first_tile(self) -> int:
        """The tile of segment ``k > 0`` begins this many samples after the segment (:mod:`sedkit.timeline.grid`)."""
        return (self.segment_span - self.segment_hop) // 2

    @property
    def overlap(self) -> int:
        """Number of segments that contain any moment, except at the ends of a recording."""
        return max(1, self.segment_span // self.segment_hop)

    @property
    def context(self) -> int:
        """Hops before a segment on which its scores, or the level changes at the start of its tile, depend.

        There are two or more, so that the last tile of a recording begins within a piece that has no new segment.
        """
        margin = (self.receptive_field - self.segment_span) // 2
        return max(2, self._hops(max(margin, LEVEL_FRAMES * self.frame - self.first_tile)))

    @property
    def lookahead(self) -> int:
        """Hops after a segment's first hop on which its scores, or the level changes there, depend."""
        margin = (self.receptive_field - self.segment_span) // 2
        end = max(self.segment_span + margin, self.first_tile + LEVEL_FRAMES * self.frame)
        return self._hops(end - self.segment_hop)

    @property
    def piece(self) -> int:
        """New segments in a piece of a recording that is run at once (:func:`sedkit.inference.model.pieces`)."""
        return max(1, self.hops(PIECE_SECONDS) - self.context - self.lookahead)

    def hops(self, seconds: float) -> int:
        """The whole number of hops that is nearest to some seconds."""
        return round(seconds * self.sample_rate / self.segment_hop)

    def segment_count(self, samples: int) -> int:
        """K, the number of segments of a recording of ``samples`` samples; at least 1.

        Raises
        ------
        ValueError
            If ``samples`` is negative.
        """
        if samples < 0:
            raise ValueError(f"samples must not be negative; got {samples} samples")
        return 1 + self._hops(max(0, samples - self.segment_span))

    def padded_samples(self, samples: int) -> int:
        """Length of a recording of ``samples`` samples, zero-padded so that the last segment ends with it."""
        return self.segment_span + (self.segment_count(samples) - 1) * self.segment_hop

    def tile_start(self, segment: int) -> float:
        """Start of a segment's tile in seconds (:mod:`sedkit.timeline.grid`)."""
        return (self.first_tile + self.segment_hop * segment) / self.sample_rate if segment else 0.0

    def _hops(self, samples: int) -> int:
        """The smallest whole number of hops that contains some samples."""
        return max(0, -(-samples // self.segment_hop))


WELS_NET = Geometry(SAMPLE_RATE, SEGMENT_HOP, SEGMENT_SPAN, RECEPTIVE_FIELD)
padded_samples, segment_count = WELS_NET.padded_samples, WELS_NET.segment_count
