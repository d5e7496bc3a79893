"""How good are generated images? Figures with their sample size, interval and floor.

    frechet.py      streaming moments and the Frechet distance between two sets of features
    kernel.py       the unbiased kernel distance (KID), with its standard error
    features.py     what a set of images is compared by: pixels or a classifier's features
    classifier.py   the small reference classifier, trained on the reference's training split
    neighbours.py   nearest neighbours in pixel space: is the model returning its training data?
    bootstrap.py    percentile intervals for means, shares and Frechet distances
    floor.py        what real images score against real images at the same sample size
    summary.py      one figure as it is reported

Assumes uint8 images shaped (B, C, H, W), decoded and of one size. Leaves reading, distributing
and storing to the jobs: nothing here reads or writes anything or knows of Ray.
"""
