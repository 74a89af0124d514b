"""One module per step, each a pure function of its call; and what decides on them: planning a
training, releasing a version, watching what is served."""
