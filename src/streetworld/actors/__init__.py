"""Vehicles and people that move: signals, traffic, walkers."""
