"""What goes on beside the training."""
