"""What the management system takes: time, memory, and whether it keeps its word when it is killed."""
