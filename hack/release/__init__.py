"""Makes a release in dist/: what people install, and what says where it came from."""
