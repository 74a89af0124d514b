"""One module per step of the lifecycle; each is a pure function of its call."""
