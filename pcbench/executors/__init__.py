"""Where cells are worked at other than in the process of the command."""
