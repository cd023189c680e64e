"""What the experiments that redraw the paper's evaluation share: parameters, repeated runs, their command."""
