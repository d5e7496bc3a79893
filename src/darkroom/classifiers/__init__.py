"""Image classifiers by name: torchvision's and timm's, with their own transforms and labels."""
