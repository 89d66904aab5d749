"""`python -m segkit`."""

from segkit.cli.app import main

main()
