"""The real pair in namespaces: real daemons, real traffic, a schedule of faults, and the witness as judge."""
