"""Every injection is detected, and all NFs get their share."""
