"""What decides a timing: a change in this folder makes every record stale."""
