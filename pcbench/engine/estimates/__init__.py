"""What a cell takes, before it is done: by the records of earlier runs, or by its first steps."""
