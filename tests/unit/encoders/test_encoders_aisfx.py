"""aiSFX: the folded network against the plain one, the whole clip against a block, the weights' conversion."""

from __future__ import annotations

import importlib.util
import sys
import threading
from pathlib import Path

import pytest
import soundfile
import torch
from fusion_core.errors import ConfigError, DataError, MissingAssetError
from fusion_core.files import sha256_file
from fusion_encoders import aisfx, aisfx_weights
from fusion_encoders.aisfx import AisfxEncoder, AisfxNetwork, log_mel
from fusion_encoders.cache import FeatureCache
from fusion_encoders.precision import resolve_precision
from safetensors.torch import load_file
from torch import Tensor, nn

WIDTHS = (1, 64, 128, 256, 512)
installed = pytest.mark.skipif(importlib.util.find_spec("aisfx") is None, reason="the package aisfx is not installed")


@pytest.fixture(scope="module")
def random_state() -> dict[str, Tensor]:
    """A state dict of the network's shapes with batch norms that are far from the identity."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for block in range(1, 5):
        for layer in (1, 2):
            width, width_in = WIDTHS[block], WIDTHS[block - 1] if layer == 1 else WIDTHS[block]
            state[f"conv_block{block}.conv{layer}.weight"] = (
                torch.randn(width, width_in, 3, 3, generator=generator) * (2 / (9 * width_in)) ** 0.5
            )
            norm = f"conv_block{block}.bn{layer}"
            state[f"{norm}.weight"] = torch.rand(width, generator=generator) + 0.5
            state[f"{norm}.bias"] = torch.randn(width, generator=generator) * 0.2
            state[f"{norm}.running_mean"] = torch.randn(width, generator=generator) * 0.2
            state[f"{norm}.running_var"] = torch.rand(width, generator=generator) + 0.5
    return state


def plain_network(state: dict[str, Tensor], logmel: Tensor) -> Tensor:
    """The network as its paper has it, batch norms and all, in float64."""
    x = logmel[None, None].double()
    for block in range(1, 5):
        for layer in (1, 2):
            norm = nn.BatchNorm2d(WIDTHS[block]).double().eval()
            prefix = f"conv_block{block}.bn{layer}."
            norm.load_state_dict(
                {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)},
                strict=False,
            )
            weight = state[f"conv_block{block}.conv{layer}.weight"].double()
            x = torch.relu(norm(torch.conv2d(x, weight, padding=1)))
        if block < 4:
            x = torch.max_pool2d(x, 2)
    return x.mean(dim=3)[0].T.detach()


@pytest.mark.parametrize("frames", [8, 41, 90])
def test_folding_the_batch_norms_changes_nothing(random_state: dict[str, Tensor], frames: int) -> None:
    logmel = torch.rand(frames, 96, generator=torch.Generator().manual_seed(1))
    expected = plain_network(random_state, logmel)
    frames_TA = AisfxNetwork(random_state)(logmel)
    assert frames_TA.shape == (frames // 8, 512)
    assert torch.allclose(frames_TA.double(), expected, rtol=1e-4, atol=1e-5 * expected.abs().max())


def test_a_block_of_the_clip_gives_the_same_inner_frames(random_state: dict[str, Tensor]) -> None:
    """A feature frame sees 30 spectrogram frames on either side: the four outer ones of a block differ, no other."""
    logmel = torch.rand(320, 96, generator=torch.Generator().manual_seed(2))
    network = AisfxNetwork(random_state)
    whole, block = network(logmel), network(logmel[80:240])
    tolerance = {"rtol": 1e-4, "atol": 1e-5 * float(whole.abs().max())}
    assert torch.allclose(block[4:-4], whole[14:26], **tolerance)
    assert not torch.allclose(block[:4], whole[10:14], **tolerance)


@pytest.mark.parametrize("frames", [8, 15, 64, 65, 71, 72, 130, 257])
def test_a_long_clip_in_spans_equals_the_clip_in_one(
    random_state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    logmel = torch.rand(frames, 96, generator=torch.Generator().manual_seed(3))
    network = AisfxNetwork(random_state)
    monkeypatch.setattr(aisfx, "_SPAN", 64)
    spans = [network(span)[kept] for span, kept in aisfx._spans(logmel)]
    assert len(spans) == max(1, -(-(frames // 8) // 8))
    whole = network(logmel)
    assert torch.allclose(torch.cat(spans), whole, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_missing_package_names_the_mend(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aisfx_weights, "_PACKAGE", "aisfx_that_is_absent")
    with pytest.raises(MissingAssetError, match=r"pip install 'fusion-encoders\[embedded\]'") as caught:
        AisfxEncoder()
    assert caught.value.exit_code == 4


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="none of auto, float32, bfloat16"):
        AisfxEncoder(dtype="float16")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": True, "cpu_name": "Intel Xeon"}, torch.bfloat16),
        ({"avx512_bf16": True, "amx_bf16": False, "cpu_name": "AMD EPYC"}, torch.bfloat16),
        ({"avx512_bf16": True, "amx_bf16": False, "cpu_name": "Intel Xeon"}, torch.float32),
        ({"avx2": True}, torch.float32),
    ],
)
def test_auto_is_bfloat16_only_where_the_processor_is_faster_in_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve_precision("auto", "aisfx") == expected


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    torch.save(({"embedding_net.a": Attack()}, {}), tmp_path / "checkpoint.pth")
    with pytest.raises(Exception, match="Weights only load failed"):
        aisfx_weights._read_checkpoint(tmp_path / "checkpoint.pth")
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_without_the_network_is_refused(tmp_path: Path) -> None:
    torch.save(({"other.weight": torch.zeros(1)}, {}), tmp_path / "checkpoint.pth")
    with pytest.raises(DataError, match="reinstall"):
        aisfx_weights._read_checkpoint(tmp_path / "checkpoint.pth")


@installed
@pytest.mark.embedded
def test_the_weights_are_converted_once_and_mended_when_damaged(cache: Path) -> None:
    path = aisfx_weights.converted_weights()
    content, made = path.read_bytes(), path.stat().st_mtime_ns
    state = load_file(path)
    assert state["conv_block4.conv2.weight"].shape == (512, 512, 3, 3)
    assert len(state) == 8 * 5
    assert aisfx_weights.converted_weights().stat().st_mtime_ns == made
    path.write_bytes(content[:1_000_000])
    assert aisfx_weights.converted_weights().read_bytes() == content
    assert "aisfx" not in sys.modules
    assert sorted(file.suffix for file in path.parent.iterdir()) == [".lock", ".safetensors"]


@installed
@pytest.mark.embedded
def test_two_that_convert_at_once_both_get_the_whole_file(cache: Path) -> None:
    found: list[dict[str, Tensor]] = []
    threads = [
        threading.Thread(target=lambda: found.append(load_file(aisfx_weights.converted_weights()))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(state) for state in found] == [40, 40, 40]


@pytest.fixture(scope="module")
def encoders() -> dict[str, AisfxEncoder]:
    if importlib.util.find_spec("aisfx") is None:
        pytest.skip("the package aisfx is not installed")
    return {dtype: AisfxEncoder(dtype) for dtype in ("float32", "bfloat16")}  # type: ignore[arg-type]


def sound(seconds: float) -> Tensor:
    """A siren over noise."""
    time = torch.arange(int(44_100 * seconds)) / 44_100
    siren = torch.sin(2 * torch.pi * (800 * time + 50 * torch.sin(2 * torch.pi * 1.5 * time)))
    return 0.3 * siren + 0.05 * torch.randn(len(time), generator=torch.Generator().manual_seed(0))


@pytest.mark.embedded
def test_the_frames_are_those_of_the_published_network(
    encoders: dict[str, AisfxEncoder],
) -> None:
    waveform = sound(2.0)
    expected = plain_network(load_file(aisfx_weights.converted_weights()), log_mel(waveform))
    frames = encoders["float32"].encode(waveform)
    assert frames.shape == ((1 + 88_200 // 1024) // 8, 512)
    assert torch.allclose(frames.double(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.embedded
def test_bfloat16_frames_point_where_float32_frames_do(encoders: dict[str, AisfxEncoder]) -> None:
    waveform = sound(3.0)
    single, half = (encoders[dtype].encode(waveform) for dtype in ("float32", "bfloat16"))
    assert torch.cosine_similarity(single, half, dim=1).min() > 0.999
    assert half.dtype == torch.float32
    assert encoders["float32"].fingerprint() != encoders["bfloat16"].fingerprint()
    assert encoders["float32"].weights_sha256 == encoders["bfloat16"].weights_sha256


@pytest.mark.embedded
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_number_of_threads_changes_no_more_than_rounding(encoders: dict[str, AisfxEncoder], dtype: str) -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append([encoders[dtype].encode(sound(seconds)) for seconds in (0.1, 0.7, 2.3)])
    finally:
        torch.set_num_threads(before)
    # some processors' float32 kernels sum in another order for each number of threads
    rounding = {"float32": 1e-5, "bfloat16": 0.0}[dtype]
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, rtol=rounding, atol=rounding)


@pytest.mark.embedded
@pytest.mark.parametrize("seconds", [0.1, 0.19, 1.0])
def test_a_short_or_silent_clip_has_frames(encoders: dict[str, AisfxEncoder], seconds: float) -> None:
    for waveform in (sound(seconds), torch.zeros(int(seconds * 44_100))):
        frames = encoders["float32"].encode(waveform)
        assert frames.shape == (max(1, (1 + len(waveform) // 1024) // 8), 512)
        assert torch.isfinite(frames).all()
        assert not frames.requires_grad
        assert not frames.is_inference()


@pytest.mark.slow
@pytest.mark.embedded
def test_worker_processes_give_the_bits_of_one(encoders: dict[str, AisfxEncoder], tmp_path: Path) -> None:
    clips = []
    for number in range(6):
        path = tmp_path / f"{number}.flac"
        soundfile.write(path, sound(0.5 + 0.37 * number).clamp(-1, 1).numpy(), 44_100)
        clips.append((path.stem, path, sha256_file(path)))
    caches = [FeatureCache(encoders["bfloat16"], tmp_path / name) for name in ("alone", "pool")]
    for processes, cache in enumerate(caches, start=1):
        assert cache.fill(clips, workers=processes).encoded == 6
    alone, pool = (sha256_file(cache.folder / "frames.f16") for cache in caches)
    assert alone == pool
