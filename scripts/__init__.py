"""What people run: ``python -m scripts.NAME``. Thin, argparse, one job each."""
