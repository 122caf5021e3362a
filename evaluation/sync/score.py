"""LSE-C, LSE-D and the offset: how far lips and sound lie apart at each shift (the names are those of Wav2Lip)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..recording import Recording, Unmeasurable
from .faces import SHORTEST, Detector, crop, follow
from .network import Network
from .sound import COLUMN_RATE, SAMPLE_RATE, mfcc

FPS = 25
FARTHEST = 15  # pictures that the sound is shifted by, at most
WINDOW = 5  # pictures
COLUMNS = COLUMN_RATE // FPS  # of MFCC, to a picture
SAMPLES = SAMPLE_RATE // FPS
BATCH = 20


@dataclass(frozen=True)
class SyncScore:
    """confidence: LSE-C; distance: LSE-D
    offset: at which the distance is least, in pictures of 25 a second: that many after the sound come the lips
    distances: [31], the means over time at the offsets 15, 14, ... -15; windows: that they are means of
    faces: that are seen long enough, of which one is scored
    """

    confidence: float
    distance: float
    offset: int
    distances: tuple[float, ...]
    windows: int
    faces: int = 1


def score(lips: Tensor, voice: Tensor) -> SyncScore:
    """Points [T, D] of lips and sound in successive windows -> the score.

    As in the published code: where a shift leads beyond the clip, the sound's point is 0; the mean of each shift is
    over all windows; the distance is the least mean, the confidence the median of the 31 less that.
    """
    around = functional.pad(voice, (0, 0, FARTHEST, FARTHEST))
    shifted = (around[shift : shift + len(lips)] for shift in range(2 * FARTHEST + 1))
    means = torch.stack([functional.pairwise_distance(lips, other).mean() for other in shifted])
    least, index = means.min(dim=0)
    confidence = float(means.median() - least)
    return SyncScore(confidence, float(least), FARTHEST - int(index), tuple(means.tolist()), len(lips))


def lip_sync(recording: Recording, network: Network, detector: Detector) -> SyncScore:
    """The score of the face that is seen longest, with the sound of that time.

    Of n pictures there are n - 5 windows of 5 (one less than fit, as published). Raises `Unmeasurable` without a face,
    without sound, or where either is too short.
    """
    pictures, sound = recording.frames_at(FPS), recording.sound_at(SAMPLE_RATE)
    if len(pictures) < SHORTEST:
        raise Unmeasurable(f"it has {len(pictures)} pictures at 25 a second, and {SHORTEST} are needed")
    track = follow(pictures, detector)
    shown = crop(pictures[track.first : track.first + len(track.boxes)], track)
    heard = sound[track.first * SAMPLES : (track.first + len(shown)) * SAMPLES]
    return replace(face_sync(shown, heard, network), faces=track.among)


def face_sync(faces: np.ndarray, sound: np.ndarray, network: Network) -> SyncScore:
    """The score of a cropped face, uint8 [F, 224, 224, 3] at 25 a second, and its sound, [samples] at 16 kHz.

    Raises `Unmeasurable` where either is too short.
    """
    count = min(len(faces), len(sound) // SAMPLES)
    if count <= WINDOW:
        raise Unmeasurable(f"pictures of the face and sound together last for {count} of the {WINDOW + 1} pictures")
    windows = count - WINDOW
    planes = torch.from_numpy(np.ascontiguousarray(faces[:, :, :, ::-1])).permute(3, 0, 1, 2)  # blue, green, red
    columns = torch.from_numpy(mfcc(sound))
    seen = planes.unfold(1, WINDOW, 1)[:, :windows].permute(1, 0, 4, 2, 3)  # [windows, 3, 5, 224, 224]
    heard = columns.unfold(1, WINDOW * COLUMNS, COLUMNS)[:, :windows].permute(1, 0, 2)[:, None]  # [windows, 1, 13, 20]
    with torch.inference_mode():
        lips = torch.cat([network.lips(part.float()).float().cpu() for part in seen.split(BATCH)])
        voice = torch.cat([network.voice(part.float()).float().cpu() for part in heard.split(BATCH)])
    return score(lips, voice)
