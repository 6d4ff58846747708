"""What analyses share: counts, live time, filling schemes, pairs, fits of backgrounds and peaks."""
