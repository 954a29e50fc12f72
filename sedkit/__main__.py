"""``python -m sedkit``."""

from sedkit.cli import run

if __name__ == "__main__":
    run()
