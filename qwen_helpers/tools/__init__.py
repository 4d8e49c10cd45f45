"""What no lesson imports: measurements, the teacher's pack, the training of the tiny models."""
