"""From an archive to tensor shards and their manifest."""
