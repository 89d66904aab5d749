"""segkit: a laboratory for semantic-segmentation decoders.

Importing the package is cheap: no torch, no albumentations.
"""

__version__ = "0.1.0"
