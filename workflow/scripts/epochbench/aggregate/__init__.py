"""From records to tables and the answer."""
