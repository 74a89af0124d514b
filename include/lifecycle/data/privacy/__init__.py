"""Personal data: treated before it is staged, looked for, counted in groups, and erased."""
