"""Caches of key frames: folders of shards, and the cache of the student's images."""
