"""Pictures in, clips with sound out."""
