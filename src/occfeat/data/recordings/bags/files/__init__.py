"""The files of bags: through rosbags, or record by record."""
