"""Which methods, backbones and data sets there are, read without importing them."""
