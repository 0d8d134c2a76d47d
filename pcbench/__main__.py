"""`python -m pcbench`: the same as the command `pcbench`."""

from pcbench.cli.main import main

if __name__ == "__main__":
    main()
