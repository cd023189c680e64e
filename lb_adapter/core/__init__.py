"""The session core: C headers for all data planes, and beside them its Python oracle, slow and obvious."""
