"""What `import pcbench` offers to scripts and notebooks, which `pcbench/__init__.py` imports late."""
