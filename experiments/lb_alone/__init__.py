"""The load balancers by themselves."""
