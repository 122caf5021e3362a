"""The measures of the paper, for anyone's clips: ``python -m evaluation COMMAND CLIPS``.

files -> Clip -> Recording (decoded) -> a measure's numbers, or why there are none -> tables

Of this folder ComfyUI loads only what its nodes for measuring need, and only when they run.
"""
