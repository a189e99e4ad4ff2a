"""The dataset format: a manifest, shards of encoded subjects, and everything that reads them."""
