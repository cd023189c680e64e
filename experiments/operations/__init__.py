"""What running Catenary for real takes: what dies is replaced in time, and what grows grows as it is told."""
