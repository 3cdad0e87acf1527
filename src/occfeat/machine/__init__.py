"""This process and the machine it runs on: files, memory, cores, devices, signals, helpers, and extras."""
