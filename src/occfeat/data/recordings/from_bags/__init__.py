"""Bags and a rig file, put together: what is in a bag, a draft of its rig, and its key frames."""
