"""Reading of video files: frames by their time stamps, the sound track of the same file, and files that cannot be used."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest
import torch
from fusion_encoders.audio import load_audio
from fusion_encoders.base import FeatureSequence
from fusion_encoders.cache import FeatureCache
from fusion_encoders.faults import MediaFault
from fusion_encoders.logmel import LogMelEncoder
from fusion_encoders.patches import PatchesEncoder
from fusion_encoders.registry import load_encoder
from fusion_encoders.video import VideoFault, load_frames, load_sound_track, probe_video
from fusion_encoders.video_writing import write_video

pytest.importorskip("decord")
pytest.importorskip("av")

RATE = 16_000


def greys(count: int, side: int = 64) -> np.ndarray:
    """Frames that become brighter by 5 each, from 20."""
    return np.stack([np.full((side, side, 3), 20 + 5 * number, np.uint8) for number in range(count)])


def tone(seconds: float) -> np.ndarray:
    time_S = np.arange(round(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * 500 * time_S)).astype(np.float32)


def shown(pixels_T3HW: torch.Tensor) -> list[int]:
    """Return which frame of ``greys`` each frame is."""
    return [round((float(frame.float().mean()) - 20) / 5) for frame in pixels_T3HW]


@pytest.fixture
def clip(tmp_path):
    """Four seconds at 10 frames a second, with a tone in the second half."""
    path = tmp_path / "clip.mp4"
    write_video(path, greys(40), np.arange(40) / 10, np.concatenate([np.zeros(2 * RATE, np.float32), tone(2)]), RATE)
    return path


def test_frames_come_at_the_rate_that_is_asked_for(clip):
    info = probe_video(clip)
    assert (info.frames, info.height, info.width, info.variable) == (40, 64, 64, False)
    assert info.seconds == pytest.approx(4, abs=0.02)
    assert info.frame_rate == pytest.approx(10, rel=0.01)
    pixels_T3HW = load_frames(clip, 2.0)
    assert pixels_T3HW.dtype == torch.uint8
    assert pixels_T3HW.shape == (8, 3, 64, 64)
    assert shown(pixels_T3HW) == [2, 7, 12, 17, 22, 27, 32, 37]
    assert shown(load_frames(clip, 0.1)) == [39]  # shorter than one interval: one frame


def test_a_file_of_variable_rate_is_read_as_it_is_shown(tmp_path):
    times_T = np.concatenate([np.arange(20) / 20, 1 + np.arange(6) / 2])  # 1 s at 20 a second, then 3 s at 2 a second
    write_video(tmp_path / "variable.mp4", greys(26), times_T)
    assert probe_video(tmp_path / "variable.mp4").variable
    frames = load_frames(tmp_path / "variable.mp4", 4.0)
    # At 0.125, 0.375, … s; the length of the last frame is the one before it, as decord has it.
    assert shown(frames)[:14] == [2, 7, 12, 17, 20, 20, 21, 21, 22, 22, 23, 23, 24, 24]


def test_the_sound_track_of_the_same_file_is_heard(clip):
    waveform_S = load_audio(clip, RATE)
    assert torch.equal(waveform_S, load_sound_track(clip, RATE))
    assert waveform_S.ndim == 1
    assert len(waveform_S) / RATE == pytest.approx(4, abs=0.1)
    assert float(waveform_S[: int(1.9 * RATE)].abs().max()) < 0.01
    loud_S = waveform_S[int(2.3 * RATE) : int(3.7 * RATE)]
    spectrum = torch.fft.rfft(loud_S).abs()
    assert float(spectrum.argmax()) * RATE / len(loud_S) == pytest.approx(500, abs=2)
    assert float(loud_S.abs().max()) == pytest.approx(0.5, abs=0.05)


def broken(tmp_path, kind: str):
    path = tmp_path / f"{kind}.mp4"
    whole = tmp_path / "whole.mp4"
    write_video(whole, greys(30), np.arange(30) / 10, tone(3), RATE)
    content = whole.read_bytes()
    if kind == "missing":
        return path
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[: len(content) * 2 // 3],
            "noise": np.random.default_rng(0).bytes(5000),
            "text": b"This is no video at all, but a text with a wrong name. " * 20,
        }[kind]
    )
    return path


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("missing", "missing", "does not exist"),
        ("empty", "corrupt", "empty"),
        ("cut", "corrupt", "cut off: .* bytes are there"),
        ("noise", "corrupt", "does not decode"),
        ("text", "corrupt", "does not decode"),
    ],
)
@pytest.mark.parametrize(
    "read", [lambda path: load_frames(path, 2.0), probe_video, lambda path: load_audio(path, RATE)]
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, kind, status, reason, read):
    path = broken(tmp_path, kind)
    with pytest.raises(MediaFault, match=reason) as fault:
        read(path)
    assert fault.value.status == status
    assert "\n" not in fault.value.reason
    assert str(tmp_path) not in fault.value.reason


def test_a_file_without_sound_is_seen_and_not_heard(tmp_path):
    path = tmp_path / "silent.mp4"
    write_video(path, greys(20), np.arange(20) / 10)
    assert len(load_frames(path, 2.0)) == 4
    with pytest.raises(VideoFault, match="no sound track"):
        load_audio(path, RATE)


def test_a_fault_crosses_processes():
    fault = pickle.loads(pickle.dumps(VideoFault("too_short", "it is short")))
    assert (type(fault), fault.status, fault.reason) == (VideoFault, "too_short", "it is short")


def test_one_cache_for_eyes_and_ears_quarantines_by_modality(tmp_path):
    write_video(tmp_path / "good.mp4", greys(20), np.arange(20) / 10, tone(2), RATE)
    write_video(tmp_path / "silent.mp4", greys(20), np.arange(20) / 10)
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(1).bytes(4000))
    files = [
        (path.stem, path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in sorted(tmp_path.glob("*.mp4"))
    ]
    hashes = {name: sha256 for name, _, sha256 in files}
    eyes, ears = (FeatureCache(encoder, tmp_path / "cache") for encoder in (PatchesEncoder(), LogMelEncoder()))
    seen, heard = eyes.fill(files, workers=1), ears.fill(files, workers=1)
    assert (seen.encoded, set(seen.quarantined)) == (2, {"noise"})
    assert (heard.encoded, set(heard.quarantined)) == (1, {"noise", "silent"})
    assert heard.quarantined["silent"] == "the file has no sound track"
    assert eyes.get(hashes["good"]).shape == (8, 432)
    assert ears.get(hashes["good"]).shape[1] == 1024
    assert eyes.fill(files, workers=1).cached == 2


def test_patches_are_the_mean_colours_of_a_grid():
    pixels_T3HW = torch.zeros(2, 3, 24, 24, dtype=torch.uint8)
    pixels_T3HW[1, 0, :12, 12:] = 255  # red, above on the right
    x_TA = PatchesEncoder(grid=2).encode(pixels_T3HW)
    assert x_TA.shape == (2, 12)
    assert x_TA[0].tolist() == [0.0] * 12
    assert x_TA[1].tolist() == [0, 1, 0, 0] + [0] * 8


def test_encoders_of_video_are_found_by_name_and_say_what_they_see():
    assert load_encoder("patches").modality == "video"
    assert load_encoder("logmel").modality == "audio"
    assert load_encoder("patches").fingerprint() != load_encoder("patches", frame_rate=2.0).fingerprint()


@pytest.mark.embedded
def test_efficientnet_tells_frames_apart(clip):
    pytest.importorskip("efficientnet_lite_pytorch")
    from fusion_encoders.efficientnet_frames import EfficientNetFrames

    encoder = EfficientNetFrames(frame_rate=1.0, dtype="float32")
    pixels_T3HW = encoder.read(clip)
    x_TA = encoder.encode(pixels_T3HW)
    assert x_TA.shape == (4, encoder.width)
    one_sided = torch.zeros(1, 3, 96, 96, dtype=torch.uint8)
    one_sided[:, 0, 30:60, 60:90] = 255
    sides_T2A = encoder.encode(one_sided).unflatten(1, (2, -1))
    assert not torch.allclose(sides_T2A[:, 0], sides_T2A[:, 1], atol=0.1)  # left and right are told apart
    assert torch.allclose(encoder.encode(pixels_T3HW[2:3]), x_TA[2:3], atol=1e-4)
    assert pickle.loads(pickle.dumps(encoder)).fingerprint() == encoder.fingerprint()
    assert FeatureSequence.pad([x_TA, x_TA[:2]]).mask_BT.sum().item() == 6
