"""What is simulated of each stream, a module each, named after the stream."""
