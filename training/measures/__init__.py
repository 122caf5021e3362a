"""What the trained model can do, in numbers: on faces, sentences and seeds that it never saw."""
