"""`catenary doctor`: is this host fit for a load balancer? `facts` and `checks` are pure, the others look."""
