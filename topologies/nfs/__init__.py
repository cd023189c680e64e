"""Drivers of network functions, one a file: what turns a bare host with two ports into a real NF."""
