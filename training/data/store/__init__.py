"""Audio for training: decoded once into a store, or packed into shards."""
