"""UniAVGen in plain PyTorch: a talking clip, pictures and sound together, from a portrait and two texts.

`pipeline.joint` is the whole way; `python -m uniavgen_core joint --help` is the same on the command line.
"""

__version__ = "0.1.0"
