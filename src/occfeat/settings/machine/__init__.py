"""What the machine and its limits leave to this process. Imports no torch."""
