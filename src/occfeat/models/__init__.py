"""Networks: students, their parts and their weights."""
