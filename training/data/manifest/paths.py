"""Columns of paths: make them absolute and normalised, or relative to a folder, a whole column at a time."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.manifest.columns import Texts, joined, scalar
from training.data.manifest.problems import ManifestError

NOT_NORMAL = r"(^|/)\.{0,2}(/|$)"  # a component that is empty, . or ..


def absolute(texts: pa.Array, folder: str) -> Texts:
    """Absolute, normalised paths from paths relative to ``folder``.

    Raises
    ------
    ManifestError
        If the name of ``folder`` is not UTF-8 and some paths are absolute or contain ``.`` or ``..``.
    """
    prefix = os.path.join(folder, "")
    rooted = pc.starts_with(texts, "/")
    irregular = pc.match_substring_regex(pc.if_else(rooted, pc.utf8_slice_codeunits(texts, 1), texts), NOT_NORMAL)
    if os.sep != "/":
        irregular = pa.array(np.ones(len(texts), bool))
    if not pc.any(pc.or_(rooted, irregular)).as_py():
        return Texts(texts, prefix)
    try:
        whole = pc.if_else(rooted, texts, joined(scalar(prefix), texts))
        normal = [os.path.normpath(os.path.join(folder, text)) for text in texts.filter(irregular).to_pylist()]
        whole = pc.replace_with_mask(whole, irregular, pa.array(normal, whole.type))
    except UnicodeEncodeError:
        raise ManifestError(f"{folder!a}: the folder's name is not UTF-8; rename it") from None
    common = os.path.join(common_folder(Texts(whole)), "")
    return Texts(pc.utf8_slice_codeunits(whole, len(common)), common)


def common_folder(paths: Texts) -> str:
    """The deepest folder that contains all ``paths``; empty if there is none, as for paths on two drives."""
    ends = pc.min_max(paths.values).as_py()
    try:
        return os.path.commonpath({os.path.dirname(paths.prefix + (end or "")) for end in ends.values()})
    except ValueError:
        return ""


def relative(paths: Texts, folder: str) -> pa.Array:
    """The paths with ``/``: relative to ``folder`` where they lie below it, else absolute."""
    below = os.path.join(folder, "") if folder else ""
    if paths.prefix.startswith(below):
        result = joined(scalar(paths.prefix.removeprefix(below)), paths.values)
    elif below.startswith(paths.prefix):
        rest = below.removeprefix(paths.prefix)
        inside = pc.starts_with(paths.values, rest)
        result = pc.if_else(inside, pc.utf8_slice_codeunits(paths.values, len(rest)), paths.plain())
    else:
        result = paths.plain()
    return result if os.sep == "/" else pc.replace_substring(result, os.sep, "/")
