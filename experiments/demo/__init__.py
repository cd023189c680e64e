"""The paper's scaling story under real traffic: what `make demo` runs (README.md)."""
