"""One package per verb: the only place that imports ray."""
