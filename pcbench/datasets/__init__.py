"""The built-in data sets, one file a family, and the store that keeps them on this machine."""
