"""How good are generated images? Figures with their sample size, interval and floor.

    features.py     feature rows, read by blocks
    frechet.py      streaming moments and the Frechet distance between two sets of features
    kernel.py       the unbiased kernel distance (KID), with its standard error
    neighbourhoods.py   precision, recall, density, coverage
    gaussian_kernel.py  CMMD, for unit vectors
    lpips.py        how far apart two pictures look
    classifier.py   the small reference classifier, trained on the reference's training split
    neighbours.py   nearest neighbours in pixel space: is the model returning its training data?
    bootstrap.py    percentile intervals for means, shares and Frechet distances
    jackknife.py    intervals of figures that a bootstrap would take minutes for
    floor.py        what real images score against real images at the same sample size

Takes rows of numbers (N, D); only the classifier and LPIPS take images, shaped (B, C, H, W), and
only they need torch. Leaves reading, distributing and storing to the jobs: nothing here reads or
writes anything or knows of Ray.
"""
