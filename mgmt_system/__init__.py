"""The management system (MS): the only part that operators talk to.

It keeps the desired state in a store, allocates tag pairs, has the controller steer them, activates chains
at the master load balancer and polls the cool-down, in a reconcile loop that goes on after a crash.

What may not happen here: no import of another service, no decision in a shell. `records`, `reconcile`,
`cooldown` and `admission` are pure: no I/O, no clock, no framework; `engine`, `manager`, `status`, `rest`
and `cli` touch the world and decide nothing.
"""
