"""What needs a CUDA device: ``python -m pytest -n 0 -m cuda tests/training`` takes a few minutes on one."""

from __future__ import annotations

import copy
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sedkit.contract import Label
from sedkit.tagger import Tagger
from tests.training.conftest import SMALL, metrics, run_secost, weights
from tests.training.processes import background
from training.data.augment.augmentation import Augmentation
from training.data.clips import Clips
from training.loop.batches import Epoch, Part
from training.loop.settings import Execution, Precision, Settings
from training.loop.trainer import Trainer
from training.networks.wels import Network
from training.runtime import distributed
from training.supervision.equations import LABELS
from training.supervision.targets import Targets

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch finds none"),
]

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
AUGMENTATION = Augmentation(response=6, speed=0.15, style=0.5, overlay=0.5, noise=0.5)


def settings(precision: Precision = "float32", **changed: object) -> Settings:
    return Settings(
        batch_size=8, crop=1.0, dropout=0.0, width=1 / 16, precision=precision, augmentation=AUGMENTATION, **changed
    )


def network() -> Network:
    torch.manual_seed(0)
    made = Network(3, 1 / 16)
    made.frontend.mean.fill_(-30)
    made.frontend.std.fill_(15)
    return made


def batches(device: torch.device, of: Settings, count: int = 32) -> list[list[Part]]:
    random = np.random.default_rng(0)
    waveforms = [(3000 * random.standard_normal(20_000)).astype(np.int16) for _ in range(count)]
    clips = Clips(waveforms, np.eye(3, dtype=np.float32)[np.arange(count) % 3], [Label(name) for name in "abc"])
    epoch = Epoch(clips, Targets({LABELS: 1.0}, clips), of, (0, 0, 1), Execution(device, workers=4))
    found = list(epoch.batches())
    if device.type == "cuda":
        torch.cuda.synchronize()
    return found


def losses(trainer: Trainer, given: list[list[Part]]) -> list[float]:
    return [float(trainer.step(parts, 1e-4)) for parts in given]


def test_batches_copied_on_a_side_stream_are_those_of_the_cpu() -> None:
    for on_cpu, on_cuda in zip(batches(CPU, settings()), batches(CUDA, settings()), strict=True):
        for one, other in zip(on_cpu, on_cuda, strict=True):
            assert one.seed == other.seed
            for expected, found in zip(one.batch.tensors(), other.batch.tensors(), strict=True):
                assert found.is_cuda
                torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("tf32", 5e-3), ("bf16", 3e-2)])
def test_steps_equal_those_of_the_cpu(precision: Precision, tolerance: float) -> None:
    expected = losses(Trainer(network(), settings(), Execution(CPU)), batches(CPU, settings()))
    of = settings(precision)
    found = losses(Trainer(network(), of, Execution(CUDA)), batches(CUDA, of))
    np.testing.assert_allclose(found, expected, rtol=tolerance)
    assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")
    assert not torch.backends.cuda.matmul.allow_tf32


def test_float32_does_not_round_convolutions_to_tf32() -> None:
    layer, x = nn.Conv2d(64, 64, 3).double(), torch.randn(2, 64, 32, 32, dtype=torch.float64)
    exact = layer(x)
    errors = []
    for precision in ("float32", "tf32"):
        Trainer(network(), settings(precision), Execution(CUDA))
        found = copy.deepcopy(layer).float().to(CUDA)(x.float().to(CUDA)).cpu().double()
        errors.append(float((found - exact).abs().max()))
    assert errors[0] < 1e-5 < errors[1]


def test_restored_trainer_continues_bit_for_bit() -> None:
    of = settings("bf16", ema=0.9)
    given = batches(CUDA, of)
    whole = Trainer(network(), of, Execution(CUDA))
    losses(whole, given[:2])
    state = copy.deepcopy(whole.state())
    losses(whole, given[2:])
    resumed = Trainer(network(), of, Execution(CUDA))
    resumed.restore(state)
    losses(resumed, given[2:])
    for name, value in whole.result.state_dict().items():
        assert torch.equal(value, resumed.result.state_dict()[name]), name


def test_compiled_steps_equal_plain_ones() -> None:
    given = batches(CUDA, settings())
    plain = losses(Trainer(network(), settings(), Execution(CUDA)), given)
    compiled = losses(Trainer(network(), settings(), Execution(CUDA, compile="on")), given)
    np.testing.assert_allclose(compiled, plain, rtol=1e-3)


def step_with_nccl(port: int, folder: str) -> None:
    """Gradients of a network with synchronised batch normalisation in a group of one process."""
    where = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    os.environ.update(where, MASTER_ADDR="localhost", MASTER_PORT=str(port))
    with distributed.process_group(CUDA):
        synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(network().wels.to(CUDA))
        parallel = DistributedDataParallel(synchronised, broadcast_buffers=False)
        parallel.train()(logmel().to(CUDA)).logits.square().mean().backward()
        torch.save({name: p.grad.cpu() for name, p in synchronised.named_parameters()}, Path(folder) / "gradients.pt")


def logmel() -> torch.Tensor:
    return torch.randn(4, 1, 128, 64, generator=torch.Generator().manual_seed(1))


def test_nccl_and_synchronised_batch_normalisation_in_one_process(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    process = background(step_with_nccl, port, str(tmp_path))
    process.join()
    assert process.exitcode == 0
    plain = network().wels.to(CUDA).train()
    plain(logmel().to(CUDA)).logits.square().mean().backward()
    for name, gradient in torch.load(tmp_path / "gradients.pt", weights_only=True).items():
        torch.testing.assert_close(gradient, dict(plain.named_parameters())[name].grad.cpu(), rtol=1e-3, atol=1e-5)


def test_a_run_resumes_and_exports(small_manifest: Path, tmp_path: Path) -> None:
    options = [*SMALL[: SMALL.index("--device")], "--device", "cuda", "--export", "last", "--stages", "1"]
    for name, interrupted in (("whole", False), ("parts", True)):
        given = ["--manifest", small_manifest, "--run", tmp_path / name, *options]
        run_secost(*given, *(["--stop-after", "0s"] if interrupted else []))
    run_secost("--resume", tmp_path / "parts", "--device", "cuda")
    assert metrics(tmp_path / "parts", 1) == metrics(tmp_path / "whole", 1)
    expected = weights(tmp_path / "whole", 1)
    assert all(torch.equal(value, expected[name]) for name, value in weights(tmp_path / "parts", 1).items())
    tagger = Tagger(tmp_path / "whole" / "model.onnx", device="cpu")
    sound = (0.1 * np.random.default_rng(0).standard_normal(32_000)).astype(np.float32)
    trained = Network(3, 0.0625).eval()
    trained.load_state_dict(expected)
    with torch.no_grad():
        clip = trained(torch.from_numpy(sound)[None]).clip[0]
    scores = {tag.label: tag.score for tag in tagger.tag(sound, 16_000).tags}
    np.testing.assert_allclose([scores[label.name] for label in tagger.labels], clip, atol=1e-3)
