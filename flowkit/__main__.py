"""Run as `python -m flowkit`, or under `accelerate launch -m flowkit`."""

from .cli.main import main

main()
