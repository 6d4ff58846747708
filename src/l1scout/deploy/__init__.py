"""A trained model at work: every engine starts from one model directory."""
