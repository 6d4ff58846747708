"""Run control: the chain's processes on one machine, started, watched and drained."""
