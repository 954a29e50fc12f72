"""Audio on disk: decoded once, or packed into shards."""
