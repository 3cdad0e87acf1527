"""The networks: student, its parts, and the frozen teacher."""
