"""Records on the disk, their gates, and how they travel."""
