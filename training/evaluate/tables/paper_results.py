"""The paper's results on AudioSet: every number that its text and Table 2 state (Sections 4 and 5).

Points that appear only in its figures are not listed.
"""

from __future__ import annotations

TITLE = "Kumar and Ithapu, SeCoST, ICASSP 2020"
Alphas = tuple[float, ...]  # alpha of every stage so far; () is Teacher-0

MAP: dict[Alphas, float] = {
    (): 0.352,  # Table 2
    (1.0,): 0.352,  # Fig. 2, left: 1 - alpha = 0 means training on the labels alone
    (0.0,): 0.366,
    (0.3,): 0.374,
    (0.3, 0.3): 0.379,
    (0.3, 0.3, 0.3): 0.379,  # Fig. 2, right: "we do not see any additional improvements"
    (0.3, 0.3, 0.3, 0.3): 0.379,
    (0.3, 0.3, 0.2, 0.1): 0.383,  # Fig. 3, left
}
MAUC: dict[Alphas, float] = {(): 0.962, (0.3, 0.3, 0.3, 0.3): 0.970, (0.3, 0.3, 0.2, 0.1): 0.971}

CLASSES = 527
IMPROVED = 448
IMPROVED_BY_20, IMPROVED_BY_100, WORSE_BY_10 = 110, 3, 12
WORST = ("Squish", -0.19)
BEST = ("Crushing", "Harmonic", "Mouse")
RANGES = {(0.0, 0.1): 0.28, (0.1, 0.2): 0.21, (0.5, 1.0): 0.045}  # Fig. 4: range of AP, relative change of mean AP
