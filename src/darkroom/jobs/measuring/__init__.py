"""How good pictures are: from pictures to features, and from features to figures.

    config.py      what to measure, and on which workers
    source.py      drawn pictures, as rows: published ones, or a folder
    reference.py   the real ones: a dataset's splits, a folder, or features that were kept
    keeping.py     keeps them
    first_look.py  is there one picture that can be used?
    stages.py      read -> decode -> one stage per extractor, on the batch core
    names.py       what figures are called
    requirement.py, gate.py  what figures must be, and whether they are
    extractors.py  what pictures are compared by
    networks.py, loaded_networks.py  the networks among it, with weights of the user
    pairs.py, lpips.py  pictures of one prompt or class, and how far apart they are
    comparison.py  the committed features, set by set
    measures.py, set_measures.py  one figure from features
    differences.py how far two sets' figures lie apart
    entries.py     the table: (features x measure), with what each row needs
    planning.py    what is to be measured, from the inputs
    measurement.py all of it, on a batch that the caller opens
    words.py       figures for people

`evaluate` runs all of it; `tune` asks for the figures that it optimises. Another row is another
entry, and where its features are new another extractor.
"""
