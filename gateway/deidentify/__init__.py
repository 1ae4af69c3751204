"""De-identification by PS3.15 Annex E: bytes in, clean bytes and the identity taken off out."""
