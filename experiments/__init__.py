"""What redraws a figure of the paper or measures a claim: one folder each, run from the checkout as root.

What may not happen here: no experiment reaches into a service's internals. They drive `topologies`,
talk to the services by the clients of `catenary`, and are judged by `witness`.
"""
