"""Which int8 file belongs to which fp32 file: that of the same graph and weights, which calibration does not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from sedkit.contract import Contract, metadata_of
from sedkit.errors import SedkitError
from sedkit.model_file import ModelFile, with_digest
from training.runtime.files import sha256

DIGEST = "of_digest"  # in the lineage's ``quantisation``; older files have only "of_sha256", of the whole file


class PairError(SedkitError):
    """An int8 file was made from another model, or a file is not a model."""


def check_pair(int8: Path, fp32: Path) -> dict[str, Any]:
    """The entry ``quantisation`` of an int8 file's lineage.

    Raises
    ------
    PairError
        If it was not made from the model in ``fp32``, whatever its calibration.
    """
    quantisation: dict[str, Any] = Contract.from_metadata(metadata_of(int8)).lineage["quantisation"]
    if DIGEST in quantisation:
        same = quantisation[DIGEST] == ModelFile(fp32).digest
    else:
        same = quantisation["of_sha256"] == sha256(fp32)
    if not same:
        raise PairError(
            f"{int8}: the int8 version of another model: remove it, or rebuild it with sedkit-train quantize"
        )
    return quantisation


def with_metadata(path: Path, about: Contract) -> bytes:
    """The content of a model's file with other metadata.

    Raises
    ------
    PairError
        If it is not a readable ONNX file.
    """
    try:
        model = onnx.load(path)
    except DecodeError:
        raise PairError(f"{path}: not a readable ONNX file: export or copy it again") from None
    onnx.helper.set_model_props(model, about.to_metadata())
    return with_digest(model.SerializeToString(deterministic=True))
