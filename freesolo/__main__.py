"""`python -m freesolo`."""

from freesolo.cli.main import main

main()
