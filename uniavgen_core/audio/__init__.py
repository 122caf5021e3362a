"""Sound: waveform <-> log-mel."""
