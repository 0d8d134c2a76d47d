"""What goes from one lab to a board: made, checked, verified."""
