"""How the built-in tiny model is trained, and measured: synthetic speakers, from pictures to words. Needs its extra."""
