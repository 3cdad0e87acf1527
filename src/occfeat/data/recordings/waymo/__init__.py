"""Waymo Open Dataset v2 (parquet files) as recordings."""
