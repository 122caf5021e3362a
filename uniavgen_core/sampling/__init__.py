"""From noise to a clip's latents: schedule, guidance, integration."""

from .euler import check_seed, draw_noise, sample
from .guidance import Guidance, Mode, Outside, Unit
from .schedule import timesteps

__all__ = ["Guidance", "Mode", "Outside", "Unit", "check_seed", "draw_noise", "sample", "timesteps"]
