"""What a trained network is: card, layers, domain, uncertainties and checksums of a model directory."""
