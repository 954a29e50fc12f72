"""``python -m sedkit``."""

from sedkit.cli import main

if __name__ == "__main__":
    main(prog_name="sedkit")
