"""`python -m collector.cli`: the same as `nagari`, for child processes that must not depend on a PATH."""

from collector.cli.main import main

if __name__ == "__main__":
    main()
