"""The model server: answers with every released model, logs each prediction, follows releases.

`python -m include.serving --port 8000` is the way in. It reads the store that PERENNIAL_STORE names and
keeps its write-ahead log and its copies of packages below PERENNIAL_HOME.
"""
