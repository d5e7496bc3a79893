"""How good pictures are: from pictures to features, and from features to figures.

    config.py      what to measure, and on which workers
    source.py      what is compared, as rows: drawn pictures, a folder, the splits of a dataset
    stages.py      read -> decode -> one stage per extractor, on the batch core
    extractors.py  what pictures are compared by
    comparison.py  the committed features, set by set
    measures.py    one figure from features
    entries.py     the table: (features x measure), with what each row needs
    measurement.py all of it, on a batch that the caller opens
    words.py       figures for people

`evaluate` runs all of it; `tune` asks for the figures that it optimises. Another row is another
entry, and where its features are new another extractor.
"""
