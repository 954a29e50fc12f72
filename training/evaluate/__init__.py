"""How good networks and models are: one command a question, each imported only when it is asked for."""
