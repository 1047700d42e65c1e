"""python -m lockstep.cli: the same as `lockstep`."""

from lockstep.cli import main

main()
