"""The nuScenes format: tables, maps, splits and LiDAR files."""
