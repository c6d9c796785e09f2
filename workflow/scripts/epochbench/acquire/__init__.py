"""Get an archive and verify it."""
