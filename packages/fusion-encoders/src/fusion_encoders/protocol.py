"""What each encoder does with a clip, in the words of a methods section: rate, length, padding, features."""

from __future__ import annotations

from fusion_encoders.audio import MINIMUM_SECONDS, RESAMPLING
from fusion_encoders.clap_listening import LEFT_OUT_SECONDS, WINDOW_SECONDS
from fusion_encoders.clap_towers import FRAMES_A_WINDOW

_SHORT = (
    f"a clip of less than {WINDOW_SECONDS} s is repeated as often as it fits and then filled up with silence; "
    "nothing is cropped at random"
)
_FRAMES = f"The features are {FRAMES_A_WINDOW} frames for every window of CLAP's last block, averaged over frequency."
_PROTOCOLS = {
    "aisfx": (
        "Audio is heard at 44,100 Hz, peak-normalised, whole: there is no truncation, and only clips under 0.16 s are "
        "filled up with silence.",
        "The features are the 512 channels of aiSFX's last block, averaged over frequency, one frame every 8,192 samples.",
    ),
    "logmel": (
        "Audio is heard at 16,000 Hz, whole; the last patch is filled up with silence.",
        "The features are log-mel patches of 64 bands by 16 frames of 10 ms.",
    ),
    "clap": (
        f"Audio is heard at 48,000 Hz in windows of {WINDOW_SECONDS} s, spread evenly over a longer clip (up to "
        f"{LEFT_OUT_SECONDS} s more than whole windows are left out); {_SHORT}.",
        _FRAMES,
    ),
    "clap-fused": (
        f"Audio is heard at 48,000 Hz in one window of {WINDOW_SECONDS} s: of a longer clip the fused model reads the "
        f"whole, shrunk, and the middle crop of each third; {_SHORT}.",
        _FRAMES,
    ),
}


def audio_protocol(encoder: str) -> tuple[str, ...]:
    """Return sentences on how an encoder hears a clip; of an encoder of another package only how files are decoded."""
    decoding = (
        f"Files are decoded to mono and resampled ({RESAMPLING}); a file that is missing, damaged or shorter than "
        f"{MINIMUM_SECONDS} s is left out and counted.",
    )
    return decoding + _PROTOCOLS.get(
        encoder, (f"How encoder {encoder} hears a clip is said by the package that brings it.",)
    )
