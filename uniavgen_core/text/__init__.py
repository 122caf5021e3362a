"""Speech text: what is said -> tokens -> vocabulary ids."""
