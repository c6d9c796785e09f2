"""The machine: its processor, its drivers, and the process that trains."""
