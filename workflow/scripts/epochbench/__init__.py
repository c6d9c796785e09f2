"""How much faster does this GPU train than this CPU? The measuring, without the workflow around it."""
