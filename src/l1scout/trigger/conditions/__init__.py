"""Types of conditions, one module each: the name of a module is the name of its function in expressions."""
