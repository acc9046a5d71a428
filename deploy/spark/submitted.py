"""The command `tidemark` as spark-submit starts it: spark-submit wants a file."""

from jobs.cli import main

main()
