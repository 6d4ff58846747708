"""Hardware in Verilog: the board's data path, simulated and synthesised with free tools."""
