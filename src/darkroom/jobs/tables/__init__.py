"""Tables of texts from outside: which files make one, and their rows, whoever wrote them."""
