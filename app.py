"""The app: python app.py, then open http://127.0.0.1:7860."""

import sys

from evaluation.app import run

if __name__ == "__main__":
    run(sys.argv[1:])
