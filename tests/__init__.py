"""The tests. A package, because torch-fidelity installs one of this name beside itself: without
this file Python would take that one, in benchmarks and in Ray's workers too."""
